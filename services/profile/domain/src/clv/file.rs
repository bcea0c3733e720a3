//! The model file: four counts, then the parameters of one or both models. Bytes only: reading and
//! writing files or object stores is the service's.

use rapport_model_file::{Format, ModelFileError, Reader, Refusal, Writer};

use super::ClvModel;
use super::bgnbd::{BgNbd, PurchaseFit};
use super::spend::{GammaGamma, SpendFit};

/// Largest model file; a handful of numbers needs no more.
pub const MODEL_BYTES_MAX: usize = 1_024;

/// Its version changes with the layout below. Bits that an older file never had set read as settled.
const FORMAT: Format = Format {
    what: "customer value model",
    mark: *b"RAPPCLV\0",
    version: 1,
    bytes_max: MODEL_BYTES_MAX,
};
/// Parameters of both models, in the order of the bits that say which are at their bound.
const NAMES: [&str; 7] = ["r", "alpha", "a", "b", "p", "q", "v"];
/// The bits after them, one for each model: its search did not end at a maximum.
const UNSETTLED: [u64; 2] = [1 << 7, 1 << 8];
/// Every bit, and those of the model of spend.
const BITS: u64 = 0b1_1111_1111;
const SPEND_BITS: u64 = 0b1_0111_0000;

impl ClvModel {
    /// Returns the bytes of the file. Same models give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let purchases = &self.purchases;
        let spenders = self.spend.as_ref().map_or(0, |spend| spend.spenders);
        let bounds = purchases.at_bound.iter();
        let bounds = bounds.chain(self.spend.iter().flat_map(|spend| &spend.at_bound));
        let spend_settled = self.spend.as_ref().is_none_or(|spend| spend.converged);
        let settled = [purchases.converged, spend_settled];
        let unsettled = UNSETTLED.iter().zip(settled);
        let unsettled = unsettled.filter(|(_, settled)| !settled);
        let unsettled = unsettled.fold(0u64, |bits, (bit, _)| bits | bit);
        let bits = bounds.fold(unsettled, |bits, name| {
            let bit = NAMES.iter().position(|known| known == name);
            bits | 1 << bit.expect("every parameter is in the list of all")
        });
        let mut body = Writer::default();
        // Counts come first: how many spenders there are says whether a second model follows.
        body.u64s(&[purchases.customers, purchases.repeaters, spenders, bits]);
        body.f64s(&purchases.model.parameters());
        body.f64s(&[purchases.log_likelihood]);
        if let Some(spend) = &self.spend {
            body.f64s(&spend.model.parameters());
            body.f64s(&[spend.log_likelihood]);
        }
        FORMAT.seal(&body.finish())
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// [`ModelFileError`].
    pub fn from_bytes(file: &[u8]) -> Result<Self, ModelFileError> {
        FORMAT.read(file, model)
    }
}

fn model(body: &mut Reader<'_>) -> Result<ClvModel, Refusal> {
    let (customers, repeaters) = (body.u64()?, body.u64()?);
    let (spenders, bits) = (body.u64()?, body.u64()?);
    if repeaters > customers || spenders > repeaters {
        return Err(Refusal::BadField("number of customers"));
    }
    if bits & !BITS != 0 || (spenders == 0 && bits & SPEND_BITS != 0) {
        return Err(Refusal::BadField("bound"));
    }
    let at_bound = |range: std::ops::Range<usize>| {
        let held = range.filter(|bit| bits >> bit & 1 == 1);
        held.map(|bit| NAMES[bit]).collect()
    };
    let [r, alpha, a, b, log_likelihood] = body.f64s("number")?;
    let purchases = PurchaseFit {
        model: BgNbd::new(r, alpha, a, b).ok_or(Refusal::BadField("parameter"))?,
        log_likelihood,
        customers,
        repeaters,
        at_bound: at_bound(0..4),
        converged: bits & UNSETTLED[0] == 0,
    };
    if spenders == 0 {
        return Ok(ClvModel {
            purchases,
            spend: None,
        });
    }
    let [p, q, v, log_likelihood] = body.f64s("number")?;
    let spend = SpendFit {
        model: GammaGamma::new(p, q, v).ok_or(Refusal::BadField("parameter"))?,
        log_likelihood,
        spenders,
        at_bound: at_bound(4..7),
        converged: bits & UNSETTLED[1] == 0,
    };
    Ok(ClvModel {
        purchases,
        spend: Some(spend),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(with_spend: bool) -> ClvModel {
        let spend = SpendFit {
            model: GammaGamma::new(6.25, 3.74, 15.44).unwrap(),
            log_likelihood: -4_055.9,
            spenders: 946,
            at_bound: vec!["v"],
            converged: false,
        };
        ClvModel {
            purchases: PurchaseFit {
                model: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
                log_likelihood: -9_582.4,
                customers: 2_357,
                repeaters: 946,
                at_bound: vec!["r", "b"],
                converged: true,
            },
            spend: with_spend.then_some(spend),
        }
    }

    #[test]
    fn a_file_round_trips() {
        for with_spend in [true, false] {
            let model = fitted(with_spend);
            let bytes = model.to_bytes();
            assert!(bytes.len() < MODEL_BYTES_MAX);
            assert_eq!(ClvModel::from_bytes(&bytes), Ok(model));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = fitted(true).to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    ClvModel::from_bytes(&damaged).is_err(),
                    "byte {at} bit {bit}"
                );
            }
            assert!(ClvModel::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], &[0]].concat();
        let why = |file: &[u8]| ClvModel::from_bytes(file).unwrap_err().why;
        assert!(matches!(why(&longer), Refusal::WrongLength { .. }));
        assert_eq!(why(&[0; MODEL_BYTES_MAX + 1]), Refusal::TooLarge(1_025));
        assert_eq!(why(b"PK"), Refusal::NotAModel);
    }

    #[test]
    fn an_impossible_payload_with_a_true_checksum_is_refused() {
        let refuses = |damage: fn(&mut ClvModel), why| {
            let mut model = fitted(true);
            damage(&mut model);
            let read = ClvModel::from_bytes(&model.to_bytes());
            assert_eq!(read, Err(FORMAT.refuses(Refusal::BadField(why))));
        };
        refuses(|it| it.purchases.log_likelihood = f64::NAN, "number");
        refuses(|it| it.purchases.repeaters = 2_358, "number of customers");
        refuses(
            |it| it.spend.as_mut().unwrap().spenders = 947,
            "number of customers",
        );
        let mut body = FORMAT.open(&fitted(true).to_bytes()).unwrap().to_vec();
        // r becomes -r, and the checksum follows.
        body[4 * 8 + 7] ^= 0x80;
        assert_eq!(
            ClvModel::from_bytes(&FORMAT.seal(&body)),
            Err(FORMAT.refuses(Refusal::BadField("parameter")))
        );
    }
}
