//! Taking the fields of a model off the front of a file's body, each checked before it is believed.

use rapport_model_file::{Reader, Refusal};

use crate::forest::{Forest, Node, Rule, Tree};
use crate::logistic::{Logistic, Term};
use crate::model::Model;
use crate::options::{Algorithm, CELL_BYTES_MAX, COLUMNS_MAX, LEVELS_MAX, NAME_BYTES_MAX};
use crate::schema::{Column, Dropped, Kind, Schema};

/// Most trees of a model, and most nodes of a tree: far above what training makes.
const TREES_MAX: usize = 100_000;
const NODES_MAX: usize = 1 << 12;

pub(super) fn model(body: &mut Reader<'_>) -> Result<Model, Refusal> {
    let algorithm = Algorithm::ALL[body.count("algorithm", 0..=Algorithm::ALL.len() - 1)?];
    let schema = schema(body)?;
    let bias = body.f64("bias")?;
    let logistic = match body.flag("logistic regression")? {
        true => Some((body.f64("share")?, logistic(body, &schema)?)),
        false => None,
    };
    let trees = match body.flag("trees")? {
        true => Some((body.f64("share")?, forest(body, &schema)?)),
        false => None,
    };
    Ok(Model {
        algorithm,
        schema,
        bias,
        logistic,
        trees,
    })
}

fn schema(body: &mut Reader<'_>) -> Result<Schema, Refusal> {
    let mut schema = Schema {
        columns: Vec::new(),
        dropped: Vec::new(),
    };
    for _ in 0..body.count("number of columns", 0..=COLUMNS_MAX)? {
        let name = body.text("name of a column", 0..=NAME_BYTES_MAX)?;
        let kind = match body.count("kind of a column", 0..=2)? {
            0 => Kind::Number,
            1 => Kind::Category(levels(body)?),
            _ => Kind::Date,
        };
        schema.columns.push(Column { name, kind });
    }
    for _ in 0..body.count("number of dropped columns", 0..=COLUMNS_MAX)? {
        let why = body.count("reason of a dropped column", 0..=2)?;
        let name = body.text("name of a column", 0..=NAME_BYTES_MAX)?;
        schema.dropped.push(match why {
            0 => Dropped::Constant(name),
            1 => Dropped::Identifier(name),
            _ => Dropped::RowNumber(name),
        });
    }
    Ok(schema)
}

fn levels(body: &mut Reader<'_>) -> Result<Vec<String>, Refusal> {
    let count = body.count("number of levels", 0..=LEVELS_MAX)?;
    let levels = (0..count).map(|_| body.text("level", 0..=CELL_BYTES_MAX));
    let levels: Vec<String> = levels.collect::<Result<_, _>>()?;
    // They are found by bisection.
    if levels.is_sorted_by(|a, b| a < b) {
        Ok(levels)
    } else {
        Err(Refusal::BadField("order of levels"))
    }
}

fn logistic(body: &mut Reader<'_>, schema: &Schema) -> Result<Logistic, Refusal> {
    let base = body.f64("base")?;
    let (mut terms, mut centres) = (Vec::new(), Vec::new());
    for column in &schema.columns {
        centres.push(body.f64("centre")?);
        terms.push(match column.kind.codes() {
            0 => number_term(body)?,
            codes => {
                let weights = (0..codes).map(|_| body.f64("weight"));
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

fn number_term(body: &mut Reader<'_>) -> Result<Term, Refusal> {
    let [low, high] = body.f64s("range")?;
    let [mean, deviation] = body.f64s("spread")?;
    if low > high || deviation <= 0.0 {
        return Err(Refusal::BadField("range"));
    }
    let [weight, absent] = body.f64s("weight")?;
    Ok(Term::Number {
        low,
        high,
        mean,
        deviation,
        weight,
        absent,
    })
}

fn forest(body: &mut Reader<'_>, schema: &Schema) -> Result<Forest, Refusal> {
    let base = body.f64("base")?;
    let count = body.count("number of trees", 0..=TREES_MAX)?;
    let trees = (0..count).map(|_| tree(body, schema));
    Ok(Forest {
        base,
        trees: trees.collect::<Result<_, _>>()?,
    })
}

fn tree(body: &mut Reader<'_>, schema: &Schema) -> Result<Tree, Refusal> {
    let count = body.count("number of nodes", 1..=NODES_MAX)?;
    let nodes = (0..count).map(|at| node(body, schema, at, count));
    Ok(Tree::of(nodes.collect::<Result<_, _>>()?))
}

fn node(body: &mut Reader<'_>, schema: &Schema, at: usize, count: usize) -> Result<Node, Refusal> {
    let cover = body.f64("cover")?;
    if cover <= 0.0 {
        return Err(Refusal::BadField("cover"));
    }
    let kind = body.count("kind of a node", 0..=3)?;
    let rule = match kind {
        0 => {
            return Ok(Node {
                column: 0,
                rule: Rule::Leaf(body.f64("leaf")?),
                left: 0,
                right: 0,
                cover,
            });
        }
        3 => {
            let mut mask = [0; 4];
            for word in &mut mask {
                *word = body.u64()?;
            }
            Rule::Among(mask)
        }
        _ => Rule::Below {
            cut: body.f64("cut")?,
            missing_left: kind == 2,
        },
    };
    let column = body.u32()?;
    let of = schema.columns.get(column as usize);
    let fits = of.is_some_and(|of| of.kind.is_ordered() == (kind != 3));
    let (left, right) = (body.u32()?, body.u32()?);
    // Children after their parents: no walk can go round in circles.
    let leads_on = |child: u32| (at + 1..count).contains(&(child as usize));
    if !fits || !leads_on(left) || !leads_on(right) || left == right {
        return Err(Refusal::BadField("node"));
    }
    Ok(Node {
        column,
        rule,
        left,
        right,
        cover,
    })
}
