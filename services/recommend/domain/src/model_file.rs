//! The model file: what training writes and serving loads. A damaged or foreign file is refused.
//!
//! The body is in this crate's own encoding: varints, because most numbers are small. Bytes only:
//! reading and writing files or object stores is the service's.

use crate::baskets::{BasketModel, PARTNERS_MAX};
use crate::codec::{DecodeError, Reader, Writer};
use crate::incidence::Rows;
use crate::item_item::{ItemItemModel, NEIGHBOURS_MAX, Neighbour};
use crate::items::{ITEM_ID_BYTES_MAX, ITEMS_MAX, InternError, ItemIdx, Items};
use rapport_model_file::Format;
use rapport_types::UnixMillis;

/// Largest model file: more than 10 million items with 100 neighbours do not fit a serving process.
pub const MODEL_BYTES_MAX: usize = 1 << 30;

/// Its version changes with the layout of the body.
const FORMAT: Format = Format {
    what: "recommendation model",
    mark: *b"RAPPREC\0",
    version: 1,
    bytes_max: MODEL_BYTES_MAX,
};

/// Trained models with the identifiers that their indices stand for.
#[derive(Debug, Clone, Default)]
pub struct TrainedModels {
    /// The newest event that training read; also the model's version in decisions.
    pub trained_at: UnixMillis,
    /// The graph version at which histories were folded by person.
    pub graph_version: u64,
    /// Identifiers by index.
    pub items: Items,
    /// Item-item neighbours.
    pub similar: ItemItemModel,
    /// Baskets.
    pub together: BasketModel,
}

impl TrainedModels {
    /// Writes the file. Same models give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        FORMAT.seal(&self.body())
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// [`DecodeError`] for a file that is foreign, newer, damaged, cut, or above
    /// [`MODEL_BYTES_MAX`]; nothing was built then.
    pub fn from_bytes(file: &[u8]) -> Result<Self, DecodeError> {
        Self::read_body(Reader(FORMAT.open(file)?))
    }

    /// Moves the models onto the numbering of `items`, which gains what it did not know.
    ///
    /// # Errors
    /// [`InternError`] when `items` is full; identifiers interned until then stay.
    pub fn into_numbering(self, items: &mut Items) -> Result<Self, InternError> {
        let map = self
            .items
            .iter()
            .map(|(_, id)| items.intern(id))
            .collect::<Result<Vec<_>, _>>()?;
        // Where each index of `items` comes from; `None` for those the models do not know.
        let mut from = vec![None; items.len()];
        map.iter()
            .enumerate()
            .for_each(|(old, new)| from[new.at()] = Some(ItemIdx(old as u32)));
        let moved = |old: ItemIdx| map[old.at()];
        let counts = |old: &[u32]| {
            let count =
                |at: &Option<ItemIdx>| at.and_then(|at| old.get(at.at())).copied().unwrap_or(0);
            from.iter().map(count).collect()
        };
        let similar = ItemItemModel {
            rows: from
                .iter()
                .map(|old| old.map_or(&[][..], |old| self.similar.rows.row(old)))
                .map(|row| {
                    row.iter()
                        .map(|it| Neighbour {
                            item: moved(it.item),
                            ..*it
                        })
                        .collect()
                })
                .collect::<Rows<_>>(),
            counts: counts(&self.similar.counts),
            ..self.similar
        };
        let together = BasketModel {
            rows: from
                .iter()
                .map(|old| old.map_or(&[][..], |old| self.together.rows.row(old)))
                .map(|row| {
                    row.iter()
                        .map(|(item, count)| (moved(*item), *count))
                        .collect()
                })
                .collect::<Rows<_>>(),
            counts: counts(&self.together.counts),
            ..self.together
        };
        Ok(Self {
            items: items.clone(),
            similar,
            together,
            ..self
        })
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.signed(self.trained_at.0);
        out.varint(self.graph_version);
        out.varint(self.items.len() as u64);
        self.items.iter().for_each(|(_, id)| out.str(id));
        out.f32(self.similar.shrinkage);
        out.f32(self.similar.popularity_damping);
        write_rows(
            &mut out,
            &self.similar.counts,
            &self.similar.rows,
            |out, it| {
                out.varint(u64::from(it.item.0));
                out.f32(it.score);
            },
        );
        out.varint(u64::from(self.together.baskets));
        write_rows(
            &mut out,
            &self.together.counts,
            &self.together.rows,
            |out, (item, count)| {
                out.varint(u64::from(item.0));
                out.varint(u64::from(*count));
            },
        );
        out.0
    }

    fn read_body(mut input: Reader<'_>) -> Result<Self, DecodeError> {
        let trained_at = UnixMillis(input.signed()?);
        let graph_version = input.varint()?;
        let mut items = Items::default();
        for at in 0..input.count(ITEMS_MAX, "items")? {
            let id = input.str(ITEM_ID_BYTES_MAX)?;
            let index = items
                .intern(id)
                .map_err(|_| DecodeError::Invalid("item id"))?;
            if index.at() != at {
                return Err(DecodeError::Invalid("item id"));
            }
        }
        let known = |item: u32| {
            if (item as usize) < items.len() {
                Ok(ItemIdx(item))
            } else {
                Err(DecodeError::Invalid("item"))
            }
        };
        let (shrinkage, popularity_damping) = (input.f32()?, input.f32()?);
        let (counts, rows) = read_rows(&mut input, items.len(), NEIGHBOURS_MAX, |input| {
            Ok(Neighbour {
                item: known(input.u32("item")?)?,
                score: input.f32()?,
            })
        })?;
        let similar = ItemItemModel {
            rows,
            counts,
            shrinkage,
            popularity_damping,
        };
        let baskets = input.u32("baskets")?;
        let (counts, rows) = read_rows(&mut input, items.len(), PARTNERS_MAX, |input| {
            Ok((known(input.u32("item")?)?, input.u32("count")?))
        })?;
        let together = BasketModel {
            rows,
            counts,
            baskets,
        };
        // Ratios look a partner's count up without a check: the file must hold one for each.
        if together
            .rows
            .entries
            .iter()
            .any(|(item, _)| item.at() >= together.counts.len())
        {
            return Err(DecodeError::Invalid("item"));
        }
        input.finish()?;
        Ok(Self {
            trained_at,
            graph_version,
            items,
            similar,
            together,
        })
    }
}

fn write_rows<T>(
    out: &mut Writer,
    counts: &[u32],
    rows: &Rows<T>,
    write: impl Fn(&mut Writer, &T),
) {
    out.varint(rows.len() as u64);
    for (at, count) in counts.iter().enumerate() {
        let row = rows.row(ItemIdx(at as u32));
        out.varint(u64::from(*count));
        out.varint(row.len() as u64);
        row.iter().for_each(|entry| write(out, entry));
    }
}

fn read_rows<T>(
    input: &mut Reader<'_>,
    items: usize,
    entries_max: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<(Vec<u32>, Rows<T>), DecodeError> {
    let (mut counts, mut rows) = (Vec::new(), Rows::default());
    for _ in 0..input.count(items, "rows")? {
        counts.push(input.u32("count")?);
        let entries = input.count(entries_max, "entries")?;
        rows.push(
            (0..entries)
                .map(|_| read(input))
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    Ok((counts, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baskets::BasketOptions;
    use crate::item_item::ItemItemOptions;

    fn trained() -> TrainedModels {
        let mut items = Items::default();
        let rows: Vec<Vec<ItemIdx>> = [["a", "b"], ["a", "b"], ["a", "c"], ["d", "c"]]
            .iter()
            .map(|row| row.iter().map(|id| items.intern(id).unwrap()).collect())
            .collect();
        let slices = || rows.iter().map(Vec::as_slice);
        TrainedModels {
            trained_at: UnixMillis(1_700_000_000_000),
            graph_version: 3,
            similar: ItemItemModel::train(slices(), &ItemItemOptions::default()),
            together: BasketModel::train(
                slices(),
                &BasketOptions {
                    support_min: 1,
                    partners: 5,
                },
            ),
            items,
        }
    }

    #[test]
    fn a_file_round_trips() {
        let models = trained();
        let bytes = models.to_bytes();
        let read = TrainedModels::from_bytes(&bytes).unwrap();
        assert_eq!(
            (read.trained_at, read.graph_version),
            (models.trained_at, 3)
        );
        assert_eq!(
            (&read.similar, &read.together),
            (&models.similar, &models.together)
        );
        assert_eq!(read.to_bytes(), bytes);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = trained().to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    TrainedModels::from_bytes(&damaged).is_err(),
                    "byte {at} bit {bit}"
                );
            }
            assert!(
                TrainedModels::from_bytes(&bytes[..at]).is_err(),
                "cut at {at}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            TrainedModels::from_bytes(&longer).err(),
            Some(DecodeError::Truncated)
        );
    }

    #[test]
    fn a_hostile_body_with_a_true_checksum_is_refused() {
        let mut models = trained();
        models.similar.rows.entries[0].item = ItemIdx(99);
        assert_eq!(
            TrainedModels::from_bytes(&models.to_bytes()).err(),
            Some(DecodeError::Invalid("item"))
        );
        let mut models = trained();
        models.similar.rows.entries[0].score = f32::NAN;
        assert_eq!(
            TrainedModels::from_bytes(&models.to_bytes()).err(),
            Some(DecodeError::Invalid("number"))
        );
    }

    #[test]
    fn models_move_onto_another_numbering() {
        let models = trained();
        let mut items = Items::default();
        ["x", "c", "b"].iter().for_each(|id| {
            items.intern(id).unwrap();
        });
        let moved = models.clone().into_numbering(&mut items).unwrap();
        assert_eq!(items.len(), 5);
        for (old, id) in models.items.iter() {
            let new = items.get(id).unwrap();
            let names = |items: &Items, list: &[Neighbour]| {
                list.iter()
                    .map(|it| (items.name(it.item).to_owned(), it.score))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                names(&items, moved.similar.neighbours(new)),
                names(&models.items, models.similar.neighbours(old))
            );
            let partners = |model: &BasketModel, items: &Items, item| {
                let list = model.bought_together(item, 9).into_iter();
                list.map(|it| (items.name(it.item).to_owned(), it.count, it.lift))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                partners(&moved.together, &items, new),
                partners(&models.together, &models.items, old)
            );
        }
        assert!(moved.similar.neighbours(items.get("x").unwrap()).is_empty());
    }
}
