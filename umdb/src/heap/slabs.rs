//! Regions and slabs: from an address to its buffer.

use umem_layout::{self as layout, buffer_state, slab_kind, unit};

use super::{ADDRESS_END, Buffer, Heap, STATE_UNKNOWN};
use crate::layout::Damage;

/// Most units of a region: 4 TiB of 64 KiB each.
const UNITS_MAX: u64 = 1 << 26;
/// Most chunks of a slab.
const CAPACITY_MAX: u32 = 1 << 22;
/// Most chunks of all slabs together.
const BUFFERS_MAX: usize = 1 << 33;

/// A reservation of address space.
#[derive(Clone)]
pub struct Region {
    /// First address.
    pub base: u64,
    /// Bytes reserved.
    pub size: u64,
    /// Bytes from the base on that can be used.
    pub committed: u64,
    /// Bytes of a unit as a power of two.
    unit_shift: u32,
    /// Index of the slab that holds a unit, plus one.
    slab_of: Vec<u32>,
}

impl Region {
    /// One past the last address.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// Number of the unit that holds an address.
    #[inline]
    fn unit_at(&self, address: u64) -> Option<usize> {
        let number = (address.checked_sub(self.base)? >> self.unit_shift) as usize;
        (number < self.slab_of.len()).then_some(number)
    }

    /// First address and one past the last of the units of a slab, or what is wrong with it.
    fn extent(&self, number: usize, slab: &layout::Slab) -> Result<(u64, u64), String> {
        let units = slab.units as usize;
        if units == 0 || units > self.slab_of.len() - number {
            return Err(format!("it takes {units} units"));
        }
        let start = self.base + ((number as u64) << self.unit_shift);
        let end = start + ((units as u64) << self.unit_shift);
        let (capacity, chunk) = (slab.capacity, slab.chunk_size);
        let last = slab
            .base
            .checked_add(u64::from(capacity) * u64::from(chunk));
        let fits = slab.base >= start && last.is_some_and(|last| last <= end);
        if capacity == 0 || capacity > CAPACITY_MAX || chunk == 0 || !fits {
            return Err(format!(
                "{capacity} chunks of {chunk} bytes at {:#x}",
                slab.base
            ));
        }
        if self.slab_of[number..number + units]
            .iter()
            .any(|&slab| slab != 0)
        {
            return Err("it overlaps another slab".to_owned());
        }
        Ok((start, end))
    }

    /// Index of the slab that holds an address.
    #[inline]
    pub(super) fn slab_at(&self, address: u64) -> Option<u32> {
        let number = self.unit_at(address)?;
        self.slab_of[number].checked_sub(1)
    }
}

/// A slab: equal chunks in a run of units.
#[derive(Debug, Clone)]
pub struct Slab {
    /// Address of its structure.
    pub address: u64,
    /// First address of its first unit.
    pub start: u64,
    /// One past the last address of its last unit.
    pub end: u64,
    /// Address of the first buffer.
    pub base: u64,
    /// Bytes from one buffer to the next.
    pub chunk_size: u32,
    /// Chunks.
    pub capacity: u32,
    /// Chunks that were ever handed out; those behind were never touched.
    pub carved: u32,
    /// Index of its cache.
    pub cache: u32,
    /// Number of its first buffer, a multiple of 64.
    pub first: usize,
    /// Address of its audit records, or zero.
    pub records: u64,
    /// Address of its states, or zero.
    pub states: u64,
    /// Address of its bitmap.
    pub bitmap: u64,
    /// Address of its families, or zero.
    pub families: u64,
}

impl Slab {
    /// Address of a buffer.
    #[must_use]
    pub const fn buffer(&self, index: u32) -> u64 {
        self.base + index as u64 * self.chunk_size as u64
    }

    /// Index of the chunk that holds an address, and the offset in it.
    #[must_use]
    pub fn chunk_at(&self, address: u64) -> Option<(u32, u64)> {
        let distance = address.checked_sub(self.base)?;
        let (index, offset) = (
            distance / u64::from(self.chunk_size),
            distance % u64::from(self.chunk_size),
        );
        (index < u64::from(self.capacity)).then_some((index as u32, offset))
    }
}

impl Heap {
    pub(super) fn load_slabs(&mut self) {
        let unit_size = self.root.record.unit_size;
        if !unit_size.is_power_of_two() || unit_size < 4096 {
            let detail = format!("units of {unit_size} bytes");
            let address = self.root.address;
            return self.damage.add(Damage::Implausible {
                what: "the root record".into(),
                address,
                detail,
            });
        }
        let list = self.reader.list(
            self.root.record.regions,
            |region: &layout::Region| region.next,
            |_| None,
        );
        let mut regions = self.damage.listed(list);
        regions.sort_by_key(|(_, region)| region.base);
        for (address, region) in regions {
            if let Err(damage) = self.load_region(address, &region, unit_size.trailing_zeros()) {
                self.damage.add(damage);
            }
        }
        self.load_states();
    }

    fn load_region(
        &mut self,
        address: u64,
        record: &layout::Region,
        unit_shift: u32,
    ) -> Result<(), Damage> {
        let end = record
            .base
            .checked_add(record.size)
            .filter(|&end| end <= ADDRESS_END);
        let before = self.regions.last().map_or(0, Region::end);
        if record.units > UNITS_MAX || record.base < before || end.is_none() {
            let detail = format!("{} units from {:#x} on", record.units, record.base);
            return Err(Damage::Implausible {
                what: "a region".to_owned(),
                address,
                detail,
            });
        }
        let usable = record.size.min(record.committed) >> unit_shift;
        let units = record.units.min(usable) as usize;
        let map = self.region_map(record.map, units);
        let mut region = Region {
            base: record.base,
            size: record.size,
            committed: record.committed,
            unit_shift,
            slab_of: vec![0; units],
        };
        self.load_slab_table(record, &map, &mut region);
        self.regions.push(region);
        Ok(())
    }

    /// The map of a region. Where it cannot be read, the slab table tells the same: look at all of it.
    fn region_map(&mut self, address: u64, units: usize) -> Vec<u8> {
        let mut map = vec![0; units];
        let got = self.reader.fill(address, &mut map);
        if got < units {
            self.damage.add(Damage::Unreadable {
                what: "the map of a region".to_owned(),
                address: address.wrapping_add(got as u64),
                wanted: (units - got) as u64,
            });
            map[got..].fill(unit::SLAB_OTHER);
        }
        map
    }

    /// Reads the structures of all runs of units that the map gives to slabs.
    fn load_slab_table(&mut self, record: &layout::Region, map: &[u8], region: &mut Region) {
        let stride = self.reader.stride::<layout::Slab>() as u64;
        let holds_slab = |byte: u8| byte != unit::UNUSED && byte != unit::BLOCKS;
        let mut at = 0;
        while at < map.len() {
            let run = map[at..]
                .iter()
                .take_while(|&&byte| holds_slab(byte))
                .count();
            if run == 0 {
                at += 1;
                continue;
            }
            let address = record.slabs.wrapping_add(at as u64 * stride);
            let mut heads = Vec::new();
            let result = self.reader.array(address, run, |i, slab: layout::Slab| {
                if slab.kind == slab_kind::SLAB {
                    heads.push((at + i, slab));
                }
            });
            result.unwrap_or_else(|damage| self.damage.add(damage));
            for (number, slab) in heads {
                let address = record.slabs.wrapping_add(number as u64 * stride);
                if let Err(damage) = self.add_slab(address, number, &slab, region) {
                    self.damage.add(damage);
                }
            }
            at += run;
        }
    }

    fn add_slab(
        &mut self,
        address: u64,
        number: usize,
        record: &layout::Slab,
        region: &mut Region,
    ) -> Result<(), Damage> {
        let implausible = |detail: String| Damage::Implausible {
            what: "a slab".to_owned(),
            address,
            detail,
        };
        let (start, end) = region.extent(number, record).map_err(implausible)?;
        let cache = self.cache_at_or_read(record.cache)?;
        let chunk = self.caches[cache as usize].record.chunk_size;
        if chunk != u64::from(record.chunk_size) {
            let detail = format!(
                "chunks of {} bytes in a cache of {chunk}",
                record.chunk_size
            );
            return Err(implausible(detail));
        }
        let first = self.slabs.last().map_or(0, |last| {
            (last.first + last.capacity as usize).next_multiple_of(64)
        });
        if first + record.capacity as usize > BUFFERS_MAX {
            return Err(implausible("there are too many buffers".to_owned()));
        }
        let index = self.slabs.len() as u32;
        region.slab_of[number..number + record.units as usize].fill(index + 1);
        self.caches[cache as usize].slabs.push(index);
        self.slabs.push(Slab {
            address,
            start,
            end,
            base: record.base,
            chunk_size: record.chunk_size,
            capacity: record.capacity,
            carved: record.carved.min(record.capacity),
            cache,
            first,
            records: record.records,
            states: record.states,
            bitmap: record.bitmap,
            families: record.families,
        });
        Ok(())
    }

    fn load_states(&mut self) {
        let total = self
            .slabs
            .last()
            .map_or(0, |last| last.first + last.capacity as usize);
        let mut states = vec![buffer_state::FREE; total];
        for slab in &self.slabs {
            let of_slab = &mut states[slab.first..slab.first + slab.capacity as usize];
            let result = if slab.states != 0 {
                self.reader
                    .bytes("buffer states", slab.states, of_slab.len())
                    .map(|bytes| {
                        of_slab.copy_from_slice(&bytes);
                    })
            } else {
                let words = of_slab.len().div_ceil(64);
                self.reader
                    .words("the bitmap of a slab", slab.bitmap, words)
                    .map(|words| spread(&words, of_slab))
            };
            if let Err(damage) = result {
                of_slab.fill(STATE_UNKNOWN);
                self.damage.add(damage);
            }
            of_slab[slab.carved as usize..].fill(buffer_state::FREE);
        }
        self.states = states;
    }

    /// State of a buffer.
    #[must_use]
    pub fn state(&self, buffer: Buffer) -> u8 {
        self.states[self.number(buffer)]
    }

    pub(super) fn set_state(&mut self, buffer: Buffer, state: u8) {
        let number = self.number(buffer);
        self.states[number] = state;
    }

    /// States of a slab's buffers.
    #[must_use]
    pub fn states_of(&self, slab: &Slab) -> &[u8] {
        &self.states[slab.first..slab.first + slab.capacity as usize]
    }

    /// One more than the largest number of a buffer.
    #[must_use]
    pub fn buffer_numbers(&self) -> usize {
        self.states.len()
    }

    /// The slab that holds an address.
    #[must_use]
    #[inline]
    pub fn slab_at(&self, address: u64) -> Option<u32> {
        let after = self
            .regions
            .partition_point(|region| region.base <= address);
        self.regions.get(after.checked_sub(1)?)?.slab_at(address)
    }
}

/// One state a bit.
fn spread(words: &[u64], states: &mut [u8]) {
    for (i, state) in states.iter_mut().enumerate() {
        let is_taken = words
            .get(i / 64)
            .is_some_and(|word| word >> (i % 64) & 1 != 0);
        *state = if is_taken {
            buffer_state::ALLOCATED
        } else {
            buffer_state::FREE
        };
    }
}
