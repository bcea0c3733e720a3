//! The model file: magic, version, payload length, SHA-256 of the payload, payload; little endian.
//! Bytes only: reading and writing files or object stores is the service's.

use sha2::{Digest, Sha256};

use super::ClvModel;
use super::bgnbd::{BgNbd, PurchaseFit};
use super::spend::{GammaGamma, SpendFit};

/// Largest model file; a handful of numbers needs no more.
pub const MODEL_BYTES_MAX: usize = 1_024;

const MAGIC: [u8; 8] = *b"RAPPCLV\0";
const VERSION: u32 = 1;
const SHA_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 4 + 8 + SHA_BYTES;
/// Parameters of both models, in the order of the bits that say which are at their bound.
const NAMES: [&str; 7] = ["r", "alpha", "a", "b", "p", "q", "v"];

/// Why a model file was refused; nothing was built then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClvFileError {
    /// Not a model file of this kind.
    #[error("not a model of customer value: the file does not start with its mark")]
    Foreign,
    /// Written by another version of the program.
    #[error(
        "model of customer value of version {0}, this program reads version {VERSION}: train it again"
    )]
    OtherVersion(u32),
    /// Longer than [`MODEL_BYTES_MAX`].
    #[error("model of customer value of {0} bytes, the maximum is {MODEL_BYTES_MAX}")]
    TooLarge(usize),
    /// Cut short or with bytes added.
    #[error("damaged model of customer value: its length is not what it says")]
    WrongLength,
    /// Changed since it was written.
    #[error("damaged model of customer value: the checksum does not match")]
    WrongChecksum,
    /// The checksum holds but a field is impossible: written by a faulty program.
    #[error("damaged model of customer value: {0} is out of range")]
    BadField(&'static str),
}

impl ClvModel {
    /// Returns the bytes of the file. Same models give the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload = self.payload();
        let mut file = Vec::with_capacity(HEADER_BYTES + payload.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        file.extend_from_slice(&Sha256::digest(&payload));
        file.extend_from_slice(&payload);
        file
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// Any [`ClvFileError`].
    pub fn from_bytes(file: &[u8]) -> Result<Self, ClvFileError> {
        if file.len() > MODEL_BYTES_MAX {
            return Err(ClvFileError::TooLarge(file.len()));
        }
        let mut input = Reader(file);
        if input.take::<8>().ok_or(ClvFileError::Foreign)? != MAGIC {
            return Err(ClvFileError::Foreign);
        }
        let version = u32::from_le_bytes(input.take().ok_or(ClvFileError::WrongLength)?);
        if version != VERSION {
            return Err(ClvFileError::OtherVersion(version));
        }
        let length = input.count()?;
        let checksum: [u8; SHA_BYTES] = input.take().ok_or(ClvFileError::WrongLength)?;
        if length != input.0.len() as u64 {
            return Err(ClvFileError::WrongLength);
        }
        if Sha256::digest(input.0).as_slice() != checksum {
            return Err(ClvFileError::WrongChecksum);
        }
        let model = input.model()?;
        if input.0.is_empty() {
            Ok(model)
        } else {
            Err(ClvFileError::WrongLength)
        }
    }

    fn payload(&self) -> Vec<u8> {
        let purchases = &self.purchases;
        let mut out = Vec::new();
        let mut numbers = |numbers: &[f64]| {
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        };
        numbers(&purchases.model.parameters());
        numbers(&[purchases.log_likelihood]);
        if let Some(spend) = &self.spend {
            numbers(&spend.model.parameters());
            numbers(&[spend.log_likelihood]);
        }
        let spenders = self.spend.as_ref().map_or(0, |spend| spend.spenders);
        let bounds = purchases.at_bound.iter();
        let bounds = bounds.chain(self.spend.iter().flat_map(|spend| &spend.at_bound));
        let bits = bounds.fold(0u64, |bits, name| {
            let bit = NAMES.iter().position(|known| known == name);
            bits | 1 << bit.expect("every parameter is in the list of all")
        });
        // Counts come first when read: how many spenders there are says whether a second model follows.
        let counts = [purchases.customers, purchases.repeaters, spenders, bits];
        let mut payload: Vec<u8> = counts.iter().flat_map(|it| it.to_le_bytes()).collect();
        payload.append(&mut out);
        payload
    }
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn count(&mut self) -> Result<u64, ClvFileError> {
        self.take()
            .map(u64::from_le_bytes)
            .ok_or(ClvFileError::WrongLength)
    }

    fn number(&mut self) -> Result<f64, ClvFileError> {
        let number = f64::from_le_bytes(self.take().ok_or(ClvFileError::WrongLength)?);
        if number.is_finite() {
            Ok(number)
        } else {
            Err(ClvFileError::BadField("number"))
        }
    }

    fn model(&mut self) -> Result<ClvModel, ClvFileError> {
        let (customers, repeaters) = (self.count()?, self.count()?);
        let (spenders, bits) = (self.count()?, self.count()?);
        if repeaters > customers || spenders > repeaters {
            return Err(ClvFileError::BadField("number of customers"));
        }
        if bits >> NAMES.len() != 0 || (spenders == 0 && bits >> 4 != 0) {
            return Err(ClvFileError::BadField("bound"));
        }
        let at_bound = |range: std::ops::Range<usize>| {
            let held = range.filter(|bit| bits >> bit & 1 == 1);
            held.map(|bit| NAMES[bit]).collect()
        };
        let [r, alpha, a, b] = [
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
        ];
        let purchases = PurchaseFit {
            model: BgNbd::new(r, alpha, a, b).ok_or(ClvFileError::BadField("parameter"))?,
            log_likelihood: self.number()?,
            customers,
            repeaters,
            at_bound: at_bound(0..4),
        };
        if spenders == 0 {
            return Ok(ClvModel {
                purchases,
                spend: None,
            });
        }
        let [p, q, v] = [self.number()?, self.number()?, self.number()?];
        let spend = SpendFit {
            model: GammaGamma::new(p, q, v).ok_or(ClvFileError::BadField("parameter"))?,
            log_likelihood: self.number()?,
            spenders,
            at_bound: at_bound(4..7),
        };
        Ok(ClvModel {
            purchases,
            spend: Some(spend),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(with_spend: bool) -> ClvModel {
        let spend = SpendFit {
            model: GammaGamma::new(6.25, 3.74, 15.44).unwrap(),
            log_likelihood: -4_055.9,
            spenders: 946,
            at_bound: vec!["v"],
        };
        ClvModel {
            purchases: PurchaseFit {
                model: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
                log_likelihood: -9_582.4,
                customers: 2_357,
                repeaters: 946,
                at_bound: vec!["r", "b"],
            },
            spend: with_spend.then_some(spend),
        }
    }

    #[test]
    fn a_file_round_trips() {
        for with_spend in [true, false] {
            let model = model(with_spend);
            let bytes = model.to_bytes();
            assert!(bytes.len() < MODEL_BYTES_MAX);
            assert_eq!(ClvModel::from_bytes(&bytes), Ok(model));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = model(true).to_bytes();
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
        assert_eq!(
            ClvModel::from_bytes(&longer),
            Err(ClvFileError::WrongLength)
        );
        assert_eq!(
            ClvModel::from_bytes(&vec![0; MODEL_BYTES_MAX + 1]),
            Err(ClvFileError::TooLarge(MODEL_BYTES_MAX + 1))
        );
        assert_eq!(ClvModel::from_bytes(b"PK"), Err(ClvFileError::Foreign));
    }

    #[test]
    fn an_impossible_payload_with_a_true_checksum_is_refused() {
        let refuses = |damage: fn(&mut ClvModel), why| {
            let mut model = model(true);
            damage(&mut model);
            let read = ClvModel::from_bytes(&model.to_bytes());
            assert_eq!(read, Err(ClvFileError::BadField(why)));
        };
        refuses(|it| it.purchases.log_likelihood = f64::NAN, "number");
        refuses(|it| it.purchases.repeaters = 2_358, "number of customers");
        refuses(
            |it| it.spend.as_mut().unwrap().spenders = 947,
            "number of customers",
        );
        let mut bytes = model(true).to_bytes();
        // r becomes -r, and the checksum follows.
        bytes[HEADER_BYTES + 4 * 8 + 7] ^= 0x80;
        let checksum = Sha256::digest(&bytes[HEADER_BYTES..]);
        bytes[HEADER_BYTES - SHA_BYTES..HEADER_BYTES].copy_from_slice(&checksum);
        assert_eq!(
            ClvModel::from_bytes(&bytes),
            Err(ClvFileError::BadField("parameter"))
        );
    }
}
