//! Blocks of plain planes: a look tells all about the lanes where nothing is rejected, which are
//! most. The others are copied out and go the general way, many together.

mod write;

use crate::dispatch::{Looks, Sight};
use crate::estimate::Kit;
use crate::look::{Look, Manner};
use crate::order::DEEPEST;
use crate::outputs::{Outputs, Product};
use crate::plan::{
    Center, Clip, Level, Noise, Plan, Rule, Spread, Statistic, Step, Uncertainty, MAD_TO_STD,
};
use crate::plane::Plane;
use crate::sample::{DType, Row, Work, LANES};
use crate::second_pass::SecondPass;
use crate::statistic::{self, Combined};

/// Frames of which all planes are read side by side: what is in work of so many has its places in
/// the first-level cache, and 5 were quicker so (measured), 31 were not.
const FEW: usize = 12;

/// How to look at the blocks of a job.
pub(crate) struct Direct<'a, T: Work> {
    looks: &'static Looks<T>,
    manner: Manner,
    sights: Vec<Sight>,
    plan: &'a Plan,
    clip: Option<&'a Clip>,
    frames: usize,
    with_std: bool,
    /// Whether a median distance is asked for.
    with_mad: bool,
    /// Whether that may have been rounded.
    rounds: bool,
    /// Whether a block is read before it is sorted.
    staged: bool,
    /// Whether it is read by halves.
    halved: bool,
    /// Whether lanes that lack one sample are as well told as others.
    spares: bool,
    /// How to settle lanes that lose one sample, if a look can.
    second: Option<SecondPass>,
    /// Whether products tell of the samples that these lose.
    tells_losses: bool,
    /// Whether samples are summed along with the squares of the spread.
    summed_with_std: bool,
}

/// What is known of a block after a look.
pub(crate) struct Seen {
    pub combined: Combined,
    /// Center of the only pass.
    pub center: Row<f64>,
    /// Whether that is the image, too, which is then not written.
    centered: bool,
    /// Spread of the only pass.
    pub std: Row<f64>,
    /// 1 for the lanes of which this is not true.
    pub marks: Row<u8>,
    /// The same for those where a sample is absent.
    pub absent: Row<u8>,
}

impl Seen {
    pub fn new(frames: usize) -> Self {
        let none = Row::filled(f64::NAN);
        let combined =
            Combined { n: Row::filled(frames as u32), image: none, uncertainty: none, dq: None };
        Self {
            combined,
            center: none,
            centered: false,
            std: none,
            marks: Row::filled(0),
            absent: Row::filled(0),
        }
    }

    /// The image.
    pub fn image(&self) -> &Row<f64> {
        if self.centered {
            &self.center
        } else {
            &self.combined.image
        }
    }
}

/// What all planes have in common: type, whether the most significant byte comes first, and whether
/// FITS has flipped the sign.
pub(crate) type Common = (DType, bool, bool);

/// What all planes have in common, if they are plain.
pub(crate) fn common(planes: &[Plane]) -> Option<Common> {
    let of = |plane: &Plane| {
        let plain = plane.is_unscaled() && plane.fits.is_none_or(|fits| fits.is_plain());
        let flipped = plane.fits.is_some_and(|fits| fits.unsigned);
        plain.then_some((plane.pixels.dtype(), plane.pixels.big_endian(), flipped))
    };
    let first = of(planes.first()?)?;
    planes.iter().all(|plane| of(plane) == Some(first)).then_some(first)
}

impl<'a, T: Work> Direct<'a, T> {
    /// The way to look, if a look can tell what the plan asks for.
    pub fn new(
        looks: &'static Looks<T>,
        (dtype, _, flipped): Common,
        frames: usize,
        plan: &'a Plan,
        outputs: &Outputs,
    ) -> Option<Self> {
        let unsigned = (dtype == DType::U16) != flipped;
        let (flip, offset) = match dtype {
            DType::U16 | DType::I16 if unsigned => {
                (if flipped { 0 } else { 0x8000 }, f64::from(0x8000))
            }
            DType::U16 | DType::I16 => (if flipped { 0x8000 } else { 0 }, 0.0),
            _ => (0, 0.0),
        };
        let clip = match &plan.steps[..] {
            [] => None,
            [Step::Clip(clip)] if is_common(clip, frames) => Some(clip),
            _ => return None,
        };
        let mut sights = Vec::new();
        match plan.statistic {
            Statistic::Mean | Statistic::Sum => sights.push(Sight::Total),
            Statistic::Median | Statistic::LowerMedian => sights.push(Sight::Ranks),
            _ => return None,
        }
        let lower = clip.map_or(plan.statistic == Statistic::LowerMedian, |clip| {
            clip.center == Center::LowerMedian
        });
        if let Some(clip) = clip {
            // The other median would need another distance.
            match (clip.center, &clip.rule) {
                (Center::Mean, Rule::Scatter { spread: Spread::Mad { .. }, .. }) => return None,
                (Center::Mean, _) => sights.push(Sight::Moments),
                (_, Rule::Scatter { spread: Spread::Mad { .. }, .. }) => sights.push(Sight::Mad),
                _ => sights.push(Sight::Std),
            }
        }
        match plan.uncertainty {
            // The latter two need no more than the block has settled.
            None | Some(Uncertainty::Propagate | Uncertainty::Noise) => {}
            Some(Uncertainty::StdError | Uncertainty::StdSum) => sights.push(Sight::Total),
            Some(Uncertainty::MadError)
                if !lower && matches!(sights[..], [Sight::Ranks] | [Sight::Ranks, Sight::Mad]) =>
            {
                sights.push(Sight::Mad);
            }
            _ => return None,
        }
        let extremes = outputs.wants(Product::Low) || outputs.wants(Product::Upp);
        if extremes && clip.is_some_and(|clip| matches!(clip.rule, Rule::Linear { .. })) {
            return None;
        }
        let known = sights.iter().any(|sight| sight.tells_extremes());
        if (extremes || plan.thresholds.is_some()) && !known {
            let mean = matches!(plan.statistic, Statistic::Mean | Statistic::Sum);
            sights.push(if mean { Sight::Moments } else { Sight::Std });
        }
        // One look can tell what several are asked for.
        sights.dedup();
        let all = sights.clone();
        sights.retain(|sight| !all.iter().any(|other| other.covers(*sight)));
        // Halves that fill all registers are no quicker than chunks (measured).
        let halved = (DEEPEST + 1..=2 * (DEEPEST - 1)).contains(&frames);
        let direct = halved || sights[..] == [Sight::Total];
        let staged = frames > DEEPEST && !direct;
        // Nothing but the median is asked for.
        let spares = frames <= DEEPEST
            && sights[..] == [Sight::Ranks]
            && plan.uncertainty.is_none()
            && outputs.are_only(Product::Image);
        let with_std = clip.is_some() && outputs.wants(Product::Std);
        let with_mad = plan.uncertainty == Some(Uncertainty::MadError)
            || with_std && sights.contains(&Sight::Mad);
        let summed_with_std = with_std
            && !staged
            && sights[..] == [Sight::Total, Sight::Std]
            && clip.is_some_and(|clip| {
                matches!(clip.rule, Rule::Scatter { spread: Spread::Std { .. }, .. })
            });
        if summed_with_std {
            sights.retain(|sight| *sight == Sight::Std);
        }
        // Uncertainties and data-quality flags depend on more of a lost sample than its value.
        let second = clip
            .filter(|_| plan.uncertainty.is_none() && !outputs.wants(Product::Dq))
            .and_then(|clip| SecondPass::new(clip, plan.statistic, frames))
            .map(|pass| SecondPass {
                offset,
                with_sum: pass.with_sum && !summed_with_std,
                integers: dtype.is_integer(),
                ..pass
            });
        Some(Self {
            looks,
            manner: Manner { flip, offset, lower, again: second.is_some() },
            sights,
            plan,
            clip,
            frames,
            with_std,
            with_mad,
            rounds: with_mad && dtype == DType::F32,
            staged,
            halved,
            spares,
            tells_losses: second.is_some() && !outputs.are_only(Product::Image),
            second,
            summed_with_std,
        })
    }

    /// Finds what is quicker to find for all blocks of a run together.
    pub fn run(&self, bytes: &[&[u8]], blocks: usize, look: &mut Look<T>) {
        if self.sights[..] == [Sight::Total] && self.frames > FEW {
            look.totals.resize(blocks, Row::filled(f64::NAN));
            if self.looks.totals(bytes, self.manner, &mut look.totals).is_none() {
                look.totals.clear();
            }
        }
    }

    /// Whether looks at `run` pixels are worth their time where `marked` of them are not settled:
    /// sorting costs as much as half of the columns, sums as a quarter (measured with 200 frames).
    pub fn pays(&self, marked: usize, run: usize) -> bool {
        let sums = |sight: &Sight| matches!(sight, Sight::Total | Sight::Moments);
        if self.sights.iter().all(sums) {
            4 * marked <= 3 * run
        } else {
            2 * marked <= run
        }
    }

    /// Looks at a block of the run; returns whether that is possible.
    pub fn block(
        &self,
        block: usize,
        bytes: &[&[u8]],
        kit: &Kit<T>,
        look: &mut Look<T>,
        seen: &mut Seen,
    ) -> bool {
        let mut odd = false;
        look.odd = Row::filled(0);
        if self.staged {
            let Some(found) = self.looks.stage(bytes, self.manner, look) else { return false };
            odd = found;
        }
        for sight in &self.sights {
            if let Some(total) = look.totals.get(block) {
                look.total = *total;
                odd |= self.looks.unsound(&look.total, &mut look.odd);
                continue;
            }
            let Some(found) = self.see(*sight, bytes, kit, look, &seen.combined.n) else {
                return false;
            };
            odd |= found;
        }
        seen.marks.0.fill(0);
        seen.absent = if odd { look.odd } else { Row::filled(0) };
        if self.spares {
            // The median of all but one is in the middle ranks, too, if that one is the last.
            for l in 0..LANES {
                let lone = look.lone.0[l] & seen.absent.0[l];
                seen.combined.n.0[l] = self.frames as u32 - u32::from(lone);
                seen.absent.0[l] ^= lone;
            }
        }
        if self.second.is_some() {
            seen.combined.n = Row::filled(self.frames as u32);
        }
        if let Some(clip) = self.clip {
            self.center(clip.center, kit, look, &seen.combined.n, &mut seen.center);
            self.judge(clip, bytes, kit, look, seen);
        }
        let Seen {
            combined: Combined { n, image, uncertainty, .. }, center, centered, marks, ..
        } = seen;
        if let Some((low, high)) = self.plan.thresholds {
            let (low, high) = (Row::filled(T::up(low)), Row::filled(T::down(high)));
            kit.ops.any_outside(&look.extremes, LANES, &low, &high, marks);
        }
        match self.plan.statistic.center() {
            None => *image = look.total,
            Some(which) if self.clip.is_some_and(|clip| clip.center == which) => {
                *centered = true;
            }
            Some(which) => self.center(which, kit, look, n, image),
        }
        if self.rounds {
            let about = if self.clip.is_some() { &*center } else { &*image };
            kit.ops.inexact(about, &look.extremes, marks);
        }
        if self.with_mad {
            for l in 0..LANES {
                marks.0[l] |= u8::from(!look.spread.0[l].is_finite());
            }
        }
        match self.plan.uncertainty {
            None | Some(Uncertainty::Propagate | Uncertainty::Noise) => {}
            Some(Uncertainty::MadError) => {
                let spread = Row(look.spread.0.map(|mad| mad.f64() * MAD_TO_STD));
                *uncertainty = statistic::error_of(Uncertainty::MadError, spread, n);
            }
            Some(kind) => {
                let mut mean = Row::filled(f64::NAN);
                self.center(Center::Mean, kit, look, n, &mut mean);
                self.std(&mean, 0, bytes, kit, look, n, uncertainty);
                *uncertainty = statistic::error_of(kind, *uncertainty, n);
            }
        }
        true
    }

    /// Takes one look; tells whether some sample is not finite.
    fn see(
        &self,
        sight: Sight,
        bytes: &[&[u8]],
        kit: &Kit<T>,
        look: &mut Look<T>,
        n: &Row<u32>,
    ) -> Option<bool> {
        if self.frames <= DEEPEST {
            return self.looks.look(sight, bytes, self.manner, look);
        }
        if !self.staged && sight == Sight::Total {
            self.looks.totals(bytes, self.manner, std::slice::from_mut(&mut look.total))?;
            return Some(self.looks.unsound(&look.total, &mut look.odd));
        }
        let sums = matches!(sight, Sight::Total | Sight::Moments);
        let mad = sight == Sight::Mad;
        let mut odd = false;
        if self.halved {
            odd = self.looks.halves(!sums, bytes, self.manner, look)?;
        }
        if !sums && self.halved && !mad {
            self.looks.halves_ranks(self.frames, self.manner, look);
        } else if !sums {
            self.looks.staged_ranks(self.frames, mad, self.manner, look);
        } else if !self.halved {
            self.looks.staged_total(self.frames, self.manner, look);
        }
        if matches!(sight, Sight::Moments | Sight::Std) {
            let mut about = Row::filled(f64::NAN);
            let which = match self.clip {
                Some(clip) => clip.center,
                None if sight == Sight::Moments => Center::Mean,
                None => Center::Median,
            };
            self.center(which, kit, look, n, &mut about);
            if sums && self.halved {
                self.looks.plain_scan(self.frames, self.manner, &about, look);
            } else {
                self.looks.staged_scan(self.frames, self.manner, &about, look);
            }
        }
        Some(odd)
    }

    fn center(
        &self,
        which: Center,
        kit: &Kit<T>,
        look: &Look<T>,
        n: &Row<u32>,
        out: &mut Row<f64>,
    ) {
        match which {
            Center::Mean | Center::Trimmed => {
                *out = look.total;
                kit.ops.divide(out, n);
            }
            Center::Median | Center::LowerMedian => {
                let lower = which == Center::LowerMedian;
                let odd = self.frames <= DEEPEST && self.frames % 2 == 1;
                kit.ops.median(&look.low, &look.high, n, odd, lower, out);
            }
        }
    }

    /// The standard deviation about `center`, to the last bit.
    fn std(
        &self,
        center: &Row<f64>,
        ddof: usize,
        bytes: &[&[u8]],
        kit: &Kit<T>,
        look: &mut Look<T>,
        n: &Row<u32>,
        out: &mut Row<f64>,
    ) {
        if self.staged {
            self.looks.staged_squares(self.frames, self.manner, look, center, out);
        } else {
            let total = self.summed_with_std;
            self.looks.exact_squares(bytes, self.manner, center, total, look, out);
        }
        kit.ops.variance(out, n, ddof as f64, true);
    }

    /// Marks the lanes where the clipping may reject something.
    fn judge(
        &self,
        clip: &Clip,
        bytes: &[&[u8]],
        kit: &Kit<T>,
        look: &mut Look<T>,
        seen: &mut Seen,
    ) {
        let Seen { combined: Combined { n, .. }, center, std, marks, .. } = seen;
        let n = &mut *n;
        let (mut down, mut up) = (None, None);
        match &clip.rule {
            Rule::Scatter { spread, .. } => {
                let (n_frames, e) = (self.frames as f64, T::EPSILON.f64());
                let (root, factor) = match spread {
                    Spread::Std { ddof } => (true, 1.0 / (n_frames - *ddof as f64).sqrt()),
                    Spread::Mad { factor } => (false, *factor),
                };
                kit.ops.beyond(
                    center,
                    &look.extremes,
                    &look.spread,
                    root,
                    factor * (1.0 - (2.0 * n_frames + 32.0) * e),
                    (clip.low, clip.high),
                    self.manner.offset,
                    // In double precision equal samples can differ from their mean.
                    clip.center != Center::Mean || self.plan.single,
                    marks,
                );
                if let Some(pass) = &self.second {
                    kit.ops.second_pass(look, pass, center, n, marks);
                }
                if self.with_std {
                    match spread {
                        Spread::Std { ddof } => {
                            self.std(center, *ddof, bytes, kit, look, n, std);
                            if self.summed_with_std {
                                self.looks.unsound(&look.total, marks);
                            }
                        }
                        Spread::Mad { factor } => {
                            *std = Row(look.spread.0.map(|mad| mad.f64() * factor));
                        }
                    }
                }
                return;
            }
            Rule::Noise { frames, .. } => *std = Row(center.0.map(|c| frames[0].sigma(c))),
            Rule::Linear { low_scale, upp_scale } => {
                *std = Row::filled(1.0);
                down = Some(Row(center.0.map(|c| low_scale * c)));
                up = Some(Row(center.0.map(|c| upp_scale * c)));
            }
            Rule::Pooled { .. } => {}
        }
        let (mut low, mut high) = (Row::filled(T::NAN), Row::filled(T::NAN));
        let down = down.as_ref().unwrap_or(center);
        kit.ops.bounds(down, std, clip.low, clip.high, &mut low, &mut high);
        if let Some(up) = &up {
            let mut other = low;
            kit.ops.bounds(up, std, clip.low, clip.high, &mut other, &mut high);
        }
        kit.ops.any_outside(&look.extremes, LANES, &low, &high, marks);
        kit.ops.attention(n, 0, center, std, marks);
    }

    /// Finds what the lanes as seen have lost, if products tell of that.
    pub fn lose(&self, bytes: &[&[u8]], look: &mut Look<T>, seen: &Seen) {
        if self.tells_losses {
            let mut marks = Row::filled(0);
            for l in 0..LANES {
                let settled = seen.marks.0[l] | seen.absent.0[l] == 0;
                marks.0[l] = u8::from(settled & look.lost.0[l].present());
            }
            self.looks.losses(bytes, self.manner, &marks, look);
        }
    }

    /// Copies marked pixels of a run to `out` from lane `at` on.
    pub fn columns(&self, bytes: &[&[u8]], lanes: &[u16], out: &mut [Row<T>], at: usize) {
        self.looks.columns(bytes, self.manner, lanes, out, at);
    }
}

/// Whether nothing but center, spread and extremes enters the first pass, and lanes where it
/// rejects nothing are done.
fn is_common(clip: &Clip, frames: usize) -> bool {
    let about = match &clip.rule {
        Rule::Scatter { about, spread, levels } => {
            // With fewer the center's rounding would count more than `beyond` allows for.
            let free = !matches!(spread, Spread::Std { ddof } if 4 * ddof > 3 * frames);
            (levels.is_none() && free).then_some(about)
        }
        Rule::Noise { about, frames } => {
            (frames[..] == [Noise { level: Level::SAME, ..frames[0] }]).then_some(about)
        }
        Rule::Linear { .. } => Some(&None),
        Rule::Pooled { .. } => None,
    };
    about.is_some_and(|about| about.is_none_or(|about| about == clip.center))
        && clip.center != Center::Trimmed
        && clip.maxiters != Some(0)
        && clip.nkeep <= frames
        && clip.min_samples <= frames
}
