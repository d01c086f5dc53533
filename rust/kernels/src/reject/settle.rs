//! Clipping by sorted columns: each is sorted once, and then every pass only moves the ends of what
//! is in. It is done where the limits are the same for all frames and nothing has to be put back;
//! a column where rounding may decide is left to [`super::clip`].

use crate::estimate::Kit;
use crate::order::DEEPEST;
use crate::passes::{Limits, Scatter, Span};
use crate::plan::{Center, Clip, Level, Noise, Revert, Rule};
use crate::reject::clip::{Clipping, Pass};
use crate::reject::lanes::{compact, gather, marked_lanes, round_up, Lanes, LANE_NUMBERS};
use crate::reject::output_flags;
use crate::sample::{Row, Work};

/// What becomes of the lanes of a block.
struct Course {
    /// What the last pass has judged, and what it has left.
    judged: Span,
    left: Span,
    /// The center of the last pass, where limits are not made of the scatter.
    center: Row<f64>,
    /// Passes that rejected something.
    rounds: Row<u8>,
    /// 1 where the last pass did.
    changed: Row<u8>,
    /// 1 where this is not certain.
    vague: Row<u8>,
}

impl Course {
    fn new(n: &Row<u32>) -> Self {
        let all = Span { first: Row::filled(0), end: *n };
        let none = Row::filled(0);
        Self {
            judged: all,
            left: all,
            center: Row::filled(f64::NAN),
            rounds: none,
            changed: none,
            vague: none,
        }
    }

    /// What is known of the lanes `chosen`, in order, before the next pass: this is left, after so
    /// many rounds.
    fn set(&mut self, chosen: &[u16], left: &Span, rounds: &Row<u8>) {
        pick(chosen, &left.first, &mut self.left.first);
        pick(chosen, &left.end, &mut self.left.end);
        pick(chosen, rounds, &mut self.rounds);
        self.vague.0.fill(0);
    }

    /// Copies what has been found of them back.
    fn scatter(&self, chosen: &[u16], to: &mut Self) {
        for (from, l) in chosen.iter().map(|l| usize::from(*l)).enumerate() {
            for (span, to) in [(&self.judged, &mut to.judged), (&self.left, &mut to.left)] {
                to.first.0[l] = span.first.0[from];
                to.end.0[l] = span.end.0[from];
            }
            to.center.0[l] = self.center.0[from];
            to.rounds.0[l] = self.rounds.0[from];
            to.changed.0[l] = self.changed.0[from];
            to.vague.0[l] = self.vague.0[from];
        }
    }
}

/// Copies the lanes `chosen`; what is beside them goes through the same ranks as the first.
fn pick<A: Copy>(chosen: &[u16], from: &Row<A>, to: &mut Row<A>) {
    for (to, l) in to.0.iter_mut().zip(chosen) {
        *to = from.0[usize::from(*l)];
    }
    let first = to.0[0];
    to.0[chosen.len()..round_up(chosen.len())].fill(first);
}

/// How a step is done on sorted columns.
enum Way<'a> {
    Scatter(Scatter),
    Noise(&'a Noise),
    Linear(f64, f64),
}

impl<'a> Way<'a> {
    /// The way for a step, if there is one.
    fn new(step: &'a Clip, frames: usize, single: bool) -> Option<Self> {
        let median = matches!(step.center, Center::Median | Center::LowerMedian);
        // Sums need no order. For medians it pays at any depth (measured to 20 000 frames).
        if !median && frames > DEEPEST || step.maxiters == Some(0) {
            return None;
        }
        let same = |about: &Option<Center>| about.is_none_or(|about| about == step.center);
        match &step.rule {
            Rule::Scatter { about, spread, levels: None } if same(about) => {
                let scatter = Scatter {
                    center: step.center,
                    spread: *spread,
                    limits: (step.low, step.high),
                    min_samples: step.min_samples,
                    skip_zero: step.skip_zero,
                    equal_is_inside: median || single,
                };
                scatter.serves().then_some(Self::Scatter(scatter))
            }
            Rule::Noise { about, frames } if median && same(about) => match &frames[..] {
                [noise] if noise.level == Level::SAME => Some(Self::Noise(noise)),
                _ => None,
            },
            Rule::Linear { low_scale, upp_scale } if median => {
                Some(Self::Linear(*low_scale, *upp_scale))
            }
            _ => None,
        }
    }

    /// The limits of a pass over what is left.
    fn limits<T: Work>(
        &self,
        kit: &Kit<T>,
        step: &Clip,
        rows: &[Row<T>],
        w: usize,
        first: bool,
        course: &mut Course,
        limits: &mut Limits<T>,
    ) {
        let span = &course.left;
        let (down, up, sigma) = match self {
            Self::Scatter(scatter) => {
                let vague = &mut course.vague;
                return kit.ops.limits_of_scatter(rows, w, span, scatter, first, limits, vague);
            }
            Self::Noise(noise) => {
                let center = center_of(kit, step.center, rows, w, span);
                course.center = center;
                (center, center, Row(center.0.map(|c| noise.sigma(c))))
            }
            Self::Linear(low_scale, upp_scale) => {
                let center = center_of(kit, step.center, rows, w, span);
                course.center = center;
                let times = |scale: f64| Row(center.0.map(|c| scale * c));
                (times(*low_scale), times(*upp_scale), Row::filled(1.0))
            }
        };
        // Nothing is rounded here that double precision does not round.
        let mut judged = sigma;
        let n = span.len();
        for l in 0..w {
            let few = (n.0[l] as usize) < step.min_samples || n.0[l] == 0;
            let none = step.skip_zero && sigma.0[l] == 0.0;
            judged.0[l] = if few || none { f64::NAN } else { sigma.0[l] };
            course.vague.0[l] |= u8::from(!sigma.0[l].is_finite() & (n.0[l] > 0));
        }
        let (mut low, mut high) = (Row::filled(T::NAN), Row::filled(T::NAN));
        let mut other = low;
        kit.ops.bounds(&down, &judged, step.low, step.high, &mut low, &mut other);
        kit.ops.bounds(&up, &judged, step.low, step.high, &mut other, &mut high);
        *limits = Limits { low: [low; 2], high: [high; 2] };
    }
}

/// The median of samples by their ranks, NaN where there is none.
fn center_of<T: Work>(
    kit: &Kit<T>,
    which: Center,
    rows: &[Row<T>],
    w: usize,
    span: &Span,
) -> Row<f64> {
    let mut middle = [Row::filled(T::NAN); 2];
    for (rank, row) in span.middle().iter().zip(&mut middle) {
        kit.ops.pick(rows, w, rank, row);
    }
    let mut center = Row::filled(f64::NAN);
    let lower = which == Center::LowerMedian;
    kit.ops.median(&middle[0], &middle[1], &span.len(), false, lower, &mut center);
    center
}

/// Goes through the passes of a step; `rows` are the columns in ascending order, and `dense` is room
/// for those that need many passes.
fn settle<T: Work>(
    kit: &Kit<T>,
    step: &Clip,
    way: &Way,
    rows: &mut [Row<T>],
    w: usize,
    n: &Row<u32>,
    dense: &mut Vec<Row<T>>,
) -> (Course, usize) {
    let mut course = Course::new(n);
    let mut limits = Limits::open();
    let mut number = 0;
    // The lanes that are gone through apart from the others, which are done, if there are any.
    let mut chosen: Vec<u16> = Vec::new();
    let mut apart = Course::new(n);
    loop {
        number += 1;
        let (current, here, w) = if chosen.is_empty() {
            (&mut *rows, &mut course, w)
        } else {
            (&mut dense[..], &mut apart, round_up(chosen.len()))
        };
        way.limits(kit, step, current, w, number == 1, here, &mut limits);
        here.judged = here.left;
        kit.ops.cut(current, w, &limits, &mut here.left, &mut here.vague, &mut here.changed);
        let mut again = Row::filled(0);
        let mut many = 0_u32;
        for l in 0..w {
            here.rounds.0[l] = here.rounds.0[l].saturating_add(here.changed.0[l]);
            again.0[l] = here.changed.0[l] & !here.vague.0[l];
            many += u32::from(again.0[l]);
        }
        if many == 0 || step.maxiters == Some(number) {
            break;
        }
        if 2 * round_up(many as usize) <= w {
            let marked = marked_lanes(&again, w);
            if chosen.is_empty() {
                gather(rows, dense, &marked);
                apart.set(&marked, &course.left, &course.rounds);
                chosen.extend_from_slice(&marked);
            } else {
                apart.scatter(&chosen, &mut course);
                compact(dense, &marked);
                let (left, rounds) = (apart.left, apart.rounds);
                apart.set(&marked, &left, &rounds);
                chosen = marked.iter().map(|j| chosen[usize::from(*j)]).collect();
            }
        }
    }
    apart.scatter(&chosen, &mut course);
    course.check(step, n, w);
    (course, number)
}

impl Course {
    /// Marks the lanes where something has to be put back, or nothing is left.
    fn check(&mut self, step: &Clip, n: &Row<u32>, w: usize) {
        let nkeep = if step.revert == Revert::Ignore { 0 } else { step.nkeep };
        let fewest = u32::try_from(nkeep.max(1)).unwrap_or(u32::MAX);
        let most = step.maxrej.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
        let left = self.left.len();
        for l in 0..w {
            let too_few = (left.0[l] < fewest) & (n.0[l] > 0);
            let too_many = n.0[l] - left.0[l] > most;
            self.vague.0[l] |= u8::from(too_few | too_many);
        }
    }
}

impl Clipping<'_> {
    /// Clips the lanes that sorted columns tell all about, and takes them out of the work; returns
    /// whether there may have been any.
    pub fn settle<T: Work>(
        &mut self,
        kit: &mut Kit<T>,
        v: &mut [Row<T>],
        lanes: &mut Lanes,
        w: usize,
        absent: &mut bool,
        dense: &mut Vec<Row<T>>,
    ) -> bool {
        let frames = v.len();
        let single = T::EPSILON.f64() > f64::EPSILON;
        let Some(way) = Way::new(self.step, frames, single) else { return false };
        kit.sorted(v, w);
        let mut sorted = std::mem::take(&mut kit.rows);
        let rows = &mut sorted[..frames];
        let (course, number) = settle(kit, self.step, &way, rows, w, &self.at_start, dense);
        let mut certain = Row::filled(0);
        for l in lanes.columns() {
            certain.0[usize::from(*l)] = 1 & !course.vague.0[usize::from(*l)];
        }
        let centers = center_of(kit, self.step.center, rows, w, &course.left);
        let (low, high) = values_of(kit, rows, w, &course.left, &certain);
        kit.rows = sorted;
        if self.is_linear() {
            for l in (0..w).filter(|l| certain.0[*l] != 0 && course.center.0[*l].is_finite()) {
                self.note_limits(course.center.0[l], l);
            }
        }
        // Mostly the last pass has rejected nothing, and what it has judged is what is left.
        let moved = (0..w).any(|l| certain.0[l] & course.changed.0[l] != 0);
        let judged = (self.report.with_std && moved).then(|| {
            // What the last pass has rejected is infinite now.
            let rows = kit.sorted(v, w).to_vec();
            let mut judged = v.to_vec();
            let (low, high) = values_of(kit, &rows, w, &course.judged, &certain);
            kit.ops.drop_outside(&mut judged, w, &low, &high);
            judged
        });
        self.report.reject_outside(kit.ops, v, w, &low, &high);
        *absent |= kit.ops.drop_outside(v, w, &low, &high);
        if self.report.with_std {
            let spread = match (judged, &way) {
                (Some(judged), _) => self.spread_of(kit, &judged, w, course.judged.len()),
                (None, Way::Scatter(scatter)) if scatter.center != Center::Mean => {
                    kit.spread(scatter.spread, &centers, v, w, &course.left.len(), true)
                }
                _ => self.spread_of(kit, v, w, course.left.len()),
            };
            for l in (0..w).filter(|l| certain.0[*l] != 0) {
                let known = spread.0[l].is_finite();
                self.report.std.0[l] = if known { spread.0[l] } else { self.report.std.0[l] };
            }
        }
        self.note_course(&course, number, &certain, &centers, w);
        let mut rest = Row::filled(0);
        for (j, l) in lanes.columns().iter().enumerate() {
            rest.0[j] = 1 & !certain.0[usize::from(*l)];
        }
        lanes.keep(&marked_lanes(&rest, lanes.width));
        true
    }

    /// The spread of the samples of a pass, NaN where it or the center is not known.
    fn spread_of<T: Work>(
        &self,
        kit: &mut Kit<T>,
        judged: &[Row<T>],
        w: usize,
        n: Row<u32>,
    ) -> Row<f64> {
        let all = Lanes { origin: LANE_NUMBERS, width: w, n, pooled: Row::filled(f64::NAN) };
        let Pass { center, mut spread, .. } = self.evaluate(kit, judged, &all, true);
        for l in 0..w {
            spread.0[l] = if center.0[l].is_finite() { spread.0[l] } else { f64::NAN };
        }
        spread
    }

    /// Reports the lanes that are `certain`.
    fn note_course(
        &mut self,
        course: &Course,
        number: usize,
        certain: &Row<u8>,
        centers: &Row<f64>,
        w: usize,
    ) {
        let linear = self.is_linear();
        let last = self.step.maxiters == Some(number) && !(linear && number == 1);
        let flag = u8::from(last) * output_flags::MAXITERS;
        // A column that cannot be judged is not done with.
        let taken = if linear { 0 } else { self.step.degrees_taken() };
        let (report, n) = (&mut *self.report, &self.at_start);
        self.centers = *centers;
        // By masks: a choice between two places would be made lane by lane.
        for l in 0..w {
            let (first, end) = (course.left.first.0[l], course.left.end.0[l]);
            let here = 0_u32.wrapping_sub(u32::from(certain.0[l]));
            report.n_low.0[l] += here & first;
            report.n_high.0[l] += here & (n.0[l] - end);
            self.settled.0[l] = (here & (end - first)) | (!here & self.settled.0[l]);
        }
        for l in 0..w {
            let changed = course.changed.0[l];
            let undefined = u8::from(n.0[l] <= taken) & u8::from(number == 1);
            report.flags.0[l] |= certain.0[l] * flag * (changed | undefined);
            let rounds = certain.0[l] * course.rounds.0[l];
            report.nit.0[l] = report.nit.0[l].saturating_add(rounds);
        }
        if linear {
            for l in (0..w).filter(|l| certain.0[*l] != 0 && n.0[*l] > 0) {
                report.nit.0[l] = course.rounds.0[l].saturating_add(1 - course.changed.0[l]);
            }
        }
    }
}

/// The smallest and the largest sample of every lane that is `certain`; else, or where there is
/// none, values that nothing is outside of.
fn values_of<T: Work>(
    kit: &Kit<T>,
    rows: &[Row<T>],
    w: usize,
    span: &Span,
    certain: &Row<u8>,
) -> (Row<T>, Row<T>) {
    let (mut low, mut high) = (Row::filled(T::NAN), Row::filled(T::NAN));
    kit.ops.pick(rows, w, &span.first, &mut low);
    kit.ops.pick(rows, w, &span.last(), &mut high);
    for l in 0..w {
        let (a, b) = (low.0[l], high.0[l]);
        let here = (certain.0[l] != 0) & (span.first.0[l] < span.end.0[l]);
        low.0[l] = if here { a } else { T::NEG_INFINITY };
        high.0[l] = if here { b } else { T::INFINITY };
    }
    (low, high)
}
