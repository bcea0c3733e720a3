//! Taking the fields of a model off the front of a file's body, each checked before it is believed.

use super::ModelFileError;
use crate::forest::{Forest, Node, Rule, Tree};
use crate::logistic::{Logistic, Term};
use crate::model::Model;
use crate::options::{Algorithm, CELL_BYTES_MAX, COLUMNS_MAX, LEVELS_MAX, NAME_BYTES_MAX};
use crate::schema::{Column, Dropped, Kind, Schema};

/// Most trees of a model, and most nodes of a tree: far above what training makes.
const TREES_MAX: usize = 100_000;
const NODES_MAX: usize = 1 << 12;

/// What is left of the body.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ModelFileError> {
        let (front, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(ModelFileError::BadField("length"))?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelFileError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ModelFileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a count that must not be above a maximum.
    fn count(&mut self, name: &'static str, most: usize) -> Result<usize, ModelFileError> {
        let value = self.u32()? as usize;
        if value <= most {
            Ok(value)
        } else {
            Err(ModelFileError::BadField(name))
        }
    }

    /// Reads a finite number; a NaN would spread to every probability.
    fn f64(&mut self, name: &'static str) -> Result<f64, ModelFileError> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(ModelFileError::BadField(name))
        }
    }

    fn text(&mut self, name: &'static str, most: usize) -> Result<String, ModelFileError> {
        let bytes = self.count(name, most)?;
        let text = std::str::from_utf8(self.take(bytes)?);
        text.map(str::to_owned)
            .map_err(|_| ModelFileError::BadField(name))
    }

    pub(super) fn model(&mut self) -> Result<Model, ModelFileError> {
        let algorithm = Algorithm::ALL[self.count("algorithm", Algorithm::ALL.len() - 1)?];
        let schema = self.schema()?;
        let bias = self.f64("bias")?;
        let mut logistic = None;
        if self.count("logistic regression", 1)? == 1 {
            logistic = Some((self.f64("share")?, self.logistic(&schema)?));
        }
        let mut trees = None;
        if self.count("trees", 1)? == 1 {
            let share = self.f64("share")?;
            let base = self.f64("base")?;
            let count = self.count("number of trees", TREES_MAX)?;
            let grown: Result<Vec<Tree>, _> = (0..count).map(|_| self.tree(&schema)).collect();
            let trees_found = grown?;
            trees = Some((
                share,
                Forest {
                    base,
                    trees: trees_found,
                },
            ));
        }
        Ok(Model {
            algorithm,
            schema,
            bias,
            logistic,
            trees,
        })
    }

    fn schema(&mut self) -> Result<Schema, ModelFileError> {
        let mut schema = Schema {
            columns: Vec::new(),
            dropped: Vec::new(),
        };
        for _ in 0..self.count("number of columns", COLUMNS_MAX)? {
            let name = self.text("name of a column", NAME_BYTES_MAX)?;
            let kind = match self.count("kind of a column", 1)? {
                0 => Kind::Number,
                _ => Kind::Category(self.levels()?),
            };
            schema.columns.push(Column { name, kind });
        }
        for _ in 0..self.count("number of dropped columns", COLUMNS_MAX)? {
            let why = self.count("reason of a dropped column", 2)?;
            let name = self.text("name of a column", NAME_BYTES_MAX)?;
            schema.dropped.push(match why {
                0 => Dropped::Constant(name),
                1 => Dropped::Identifier(name),
                _ => Dropped::RowNumber(name),
            });
        }
        Ok(schema)
    }

    fn levels(&mut self) -> Result<Vec<String>, ModelFileError> {
        let count = self.count("number of levels", LEVELS_MAX)?;
        let levels = (0..count).map(|_| self.text("level", CELL_BYTES_MAX));
        let levels: Vec<String> = levels.collect::<Result<_, _>>()?;
        // They are found by bisection.
        if levels.is_sorted_by(|a, b| a < b) {
            Ok(levels)
        } else {
            Err(ModelFileError::BadField("order of levels"))
        }
    }

    fn logistic(&mut self, schema: &Schema) -> Result<Logistic, ModelFileError> {
        let base = self.f64("base")?;
        let (mut terms, mut centres) = (Vec::new(), Vec::new());
        for column in &schema.columns {
            centres.push(self.f64("centre")?);
            terms.push(match column.kind.codes() {
                0 => self.number_term()?,
                codes => {
                    let weights = (0..codes).map(|_| self.f64("weight"));
                    Term::Category(weights.collect::<Result<_, _>>()?)
                }
            });
        }
        Ok(Logistic {
            base,
            terms,
            centres,
        })
    }

    fn number_term(&mut self) -> Result<Term, ModelFileError> {
        let (low, high) = (self.f64("range")?, self.f64("range")?);
        let (mean, deviation) = (self.f64("mean")?, self.f64("deviation")?);
        if low > high || deviation <= 0.0 {
            return Err(ModelFileError::BadField("range"));
        }
        Ok(Term::Number {
            low,
            high,
            mean,
            deviation,
            weight: self.f64("weight")?,
            absent: self.f64("weight")?,
        })
    }

    fn tree(&mut self, schema: &Schema) -> Result<Tree, ModelFileError> {
        let count = self.count("number of nodes", NODES_MAX)?;
        if count == 0 {
            return Err(ModelFileError::BadField("number of nodes"));
        }
        let nodes = (0..count).map(|at| self.node(schema, at, count));
        Ok(Tree::of(nodes.collect::<Result<_, _>>()?))
    }

    fn node(&mut self, schema: &Schema, at: usize, count: usize) -> Result<Node, ModelFileError> {
        let cover = self.f64("cover")?;
        if cover <= 0.0 {
            return Err(ModelFileError::BadField("cover"));
        }
        let kind = self.count("kind of a node", 3)?;
        let rule = match kind {
            0 => {
                return Ok(Node {
                    column: 0,
                    rule: Rule::Leaf(self.f64("leaf")?),
                    left: 0,
                    right: 0,
                    cover,
                });
            }
            3 => {
                let mut mask = [0; 4];
                for word in &mut mask {
                    *word = u64::from_le_bytes(self.array()?);
                }
                Rule::Among(mask)
            }
            _ => Rule::Below {
                cut: self.f64("cut")?,
                missing_left: kind == 2,
            },
        };
        let column = self.u32()?;
        let of = schema.columns.get(column as usize);
        let fits = of.is_some_and(|of| (of.kind == Kind::Number) == (kind != 3));
        let (left, right) = (self.u32()?, self.u32()?);
        // Children after their parents: no walk can go round in circles.
        let leads_on = |child: u32| (at + 1..count).contains(&(child as usize));
        if !fits || !leads_on(left) || !leads_on(right) || left == right {
            return Err(ModelFileError::BadField("node"));
        }
        Ok(Node {
            column,
            rule,
            left,
            right,
            cover,
        })
    }
}
