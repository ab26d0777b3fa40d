//! The sizes that the program asked malloc for.

use super::context::{Context, Error};
use crate::{heap::Cache, report::Report};

/// The sizes asked for in one cache.
#[derive(Debug, Default)]
pub struct Requests {
    /// What each held buffer was asked for; the buffer size where that is not kept.
    pub sizes: Vec<u64>,
    /// Of these, how many are not known.
    pub unknown: u64,
}

impl Context<'_> {
    /// What the program asked for of each buffer that it holds of a cache. What cannot be read becomes a warning.
    ///
    /// # Errors
    /// When it was cancelled.
    pub fn requests(&self, cache: &Cache, report: &mut Report) -> Result<Requests, Error> {
        let mut requests = Requests::default();
        let room = cache.record.buffer_size;
        for &slab in &cache.slabs {
            self.cancel.check()?;
            let result = self.heap.requests(slab, |_, size| {
                requests.unknown += u64::from(size.is_none());
                requests.sizes.push(size.unwrap_or(room));
            });
            if let Err(damage) = result {
                report.incomplete(damage.to_string());
            }
        }
        Ok(requests)
    }
}

/// Says that sizes are those of buffers because nobody kept what was asked for.
pub fn add_unknown(command: &str, unknown: u64, report: &mut Report) {
    if unknown > 0 {
        report.warnings.push(crate::report::Warning {
            what: format!(
                "{command}: the requested size of {unknown} buffers is not known; the size of the buffer is shown"
            ),
            hint: Some("requested sizes are kept with UMEM_DEBUG=guards or default".to_owned()),
        });
    }
}
