//! A cube of bytes of which most are 0, noted sample by sample as long as few are not.

use std::sync::{Mutex, PoisonError};

/// At most one of so many samples is noted: more notes would be no less work than the cube.
const FEW: usize = 64;

/// Notes `sample << 8 | byte`, in any order, where samples are counted plane after plane.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Vec<i64>>);

impl Notes {
    /// All of them.
    pub fn into_inner(self) -> Vec<i64> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a cube of zeros and notes of what belongs there. Where much does, it is written.
#[derive(Debug)]
pub struct NotedCube<'a> {
    pub(crate) planes: Vec<&'a mut [u8]>,
    /// The first pixel of the part, and pixels of the whole.
    first: usize,
    pixels: usize,
    own: Vec<i64>,
    /// Whether bytes are noted; else they belong in the planes.
    noted: bool,
    all: &'a Notes,
}

impl<'a> NotedCube<'a> {
    /// A whole cube; its bytes must be 0.
    pub fn new(planes: Vec<&'a mut [u8]>, all: &'a Notes) -> Self {
        let pixels = planes.first().map_or(0, |plane| plane.len());
        Self { planes, first: 0, pixels, own: Vec::new(), noted: true, all }
    }

    /// The pixels before and from `mid` on, to which nothing has been written yet.
    pub(crate) fn split_at(mut self, mid: usize) -> (Self, Self) {
        let planes = std::mem::take(&mut self.planes);
        let (left, right) = planes.into_iter().map(|plane| plane.split_at_mut(mid)).unzip();
        let part = |planes, first| Self {
            planes,
            first,
            pixels: self.pixels,
            own: Vec::new(),
            noted: true,
            all: self.all,
        };
        (part(left, self.first), part(right, self.first + mid))
    }

    /// Whether bytes are noted.
    pub(crate) fn is_noted(&self) -> bool {
        self.noted
    }

    /// Notes a byte.
    pub(crate) fn note(&mut self, frame: usize, pixel: usize, byte: u8) {
        let sample = frame * self.pixels + self.first + pixel;
        self.own.push((sample as i64) << 8 | i64::from(byte));
    }

    /// Notes a byte, or writes it.
    pub(crate) fn set(&mut self, frame: usize, pixel: usize, byte: u8) {
        if self.noted {
            self.note(frame, pixel, byte);
        } else {
            self.planes[frame][pixel] = byte;
        }
    }

    /// Writes what has been noted, if it is much.
    pub(crate) fn write_many(&mut self) {
        let samples: usize = self.planes.iter().map(|plane| plane.len()).sum();
        if self.own.len() > samples / FEW {
            self.noted = false;
            for note in std::mem::take(&mut self.own) {
                let sample = (note >> 8) as usize;
                let (frame, pixel) = (sample / self.pixels, sample % self.pixels);
                self.planes[frame][pixel - self.first] = note as u8;
            }
        }
    }
}

impl Drop for NotedCube<'_> {
    fn drop(&mut self) {
        if !self.own.is_empty() {
            let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.append(&mut self.own);
        }
    }
}
