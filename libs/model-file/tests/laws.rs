#![expect(clippy::unwrap_used, reason = "tests")]
//! What was sealed opens; whatever else is offered is refused, with a reason that a person can act on.

use proptest::prelude::*;
use rapport_model_file::{
    Format, HEADER_BYTES, LoadError, ModelFileError, Reader, Refusal, Writer, save,
};

const FORMAT: Format = Format {
    what: "toy model",
    mark: *b"RPTTOY\0\0",
    version: 7,
    bytes_max: 128,
};

fn wheels(body: &mut Reader<'_>) -> Result<usize, Refusal> {
    body.count("wheels", 0..=9)
}

fn refused(file: &[u8]) -> Refusal {
    let ModelFileError { format, why } = FORMAT.open(file).unwrap_err();
    assert_eq!(format, FORMAT);
    why
}

#[test]
fn the_layout_is_the_one_worked_by_hand() {
    let file = FORMAT.seal(b"abc");
    assert_eq!(file[..20], *b"RPTTOY\0\0\x07\0\0\0\x03\0\0\0\0\0\0\0");
    // FIPS 180-2, appendix B.1: SHA-256 of "abc".
    assert_eq!(file[20..24], [0xba, 0x78, 0x16, 0xbf]);
    assert_eq!(file[48..52], [0xf2, 0x00, 0x15, 0xad]);
    assert_eq!(file[HEADER_BYTES..], *b"abc");
    assert_eq!(FORMAT.open(&file), Ok(&b"abc"[..]));
    assert_eq!(FORMAT.open(&FORMAT.seal(b"")), Ok(&b""[..]));
}

#[test]
fn every_changed_byte_is_refused() {
    let good = FORMAT.seal(b"the body of a toy");
    for at in 0..good.len() {
        for change in 1..=255 {
            let mut bad = good.clone();
            bad[at] ^= change;
            let why = refused(&bad);
            let expected = match at {
                0..8 => matches!(why, Refusal::NotAModel),
                8..12 => matches!(why, Refusal::OtherVersion(_)),
                12..20 => matches!(why, Refusal::WrongLength { .. }),
                _ => why == Refusal::WrongChecksum,
            };
            assert!(expected, "byte {at} changed by {change}: {why:?}");
        }
    }
}

#[test]
fn every_cut_and_every_added_byte_is_refused() {
    let good = FORMAT.seal(b"the body of a toy");
    for length in 0..good.len() {
        let expected = match length {
            0..8 => Refusal::NotAModel,
            8..HEADER_BYTES => Refusal::WrongLength {
                expected: HEADER_BYTES as u64,
                found: length as u64,
            },
            _ => Refusal::WrongLength {
                expected: good.len() as u64,
                found: length as u64,
            },
        };
        assert_eq!(refused(&good[..length]), expected);
    }
    let longer = [&good[..], b"!"].concat();
    let (expected, found) = (good.len() as u64, longer.len() as u64);
    assert_eq!(refused(&longer), Refusal::WrongLength { expected, found });
}

#[test]
fn a_length_that_no_memory_holds_is_refused() {
    let mut file = FORMAT.seal(b"toy");
    file[12..20].fill(0xff);
    assert_eq!(
        refused(&file),
        Refusal::WrongLength {
            expected: u64::MAX,
            found: HEADER_BYTES as u64 + 3,
        }
    );
}

#[test]
fn the_largest_file_opens_and_one_byte_more_is_refused() {
    let largest = vec![1; FORMAT.bytes_max - HEADER_BYTES];
    assert_eq!(FORMAT.open(&FORMAT.seal(&largest)), Ok(&largest[..]));
    let larger = FORMAT.seal(&[&largest[..], &[1]].concat());
    assert_eq!(refused(&larger), Refusal::TooLarge(129));
    // Said before anything is read: it may be no model at all.
    assert_eq!(refused(&[0; 500]), Refusal::TooLarge(500));
}

#[test]
fn a_refusal_names_the_kind_and_says_what_to_do() {
    for (why, text) in [
        (
            Refusal::NotAModel,
            "not a toy model: the file does not start with its mark",
        ),
        (
            Refusal::OtherVersion(6),
            "toy model of version 6, this program reads version 7: train it again",
        ),
        (
            Refusal::TooLarge(129),
            "toy model of 129 bytes, the maximum is 128",
        ),
        (
            Refusal::WrongLength {
                expected: 69,
                found: 60,
            },
            "damaged toy model: 60 bytes where its header says 69: copy or train it again",
        ),
        (
            Refusal::WrongChecksum,
            "damaged toy model: the checksum does not match: copy or train it again",
        ),
        (
            Refusal::BadField("number of wheels"),
            "damaged toy model: number of wheels is out of range: train it again",
        ),
    ] {
        assert_eq!(FORMAT.refuses(why).to_string(), text);
    }
}

#[test]
fn a_model_is_read_to_its_last_byte() {
    let file = FORMAT.seal(&[5, 0, 0, 0]);
    assert_eq!(FORMAT.read(&file, wheels), Ok(5));
    assert_eq!(
        FORMAT.read(&file, |body| body.count("wheels", 0..=4)),
        Err(FORMAT.refuses(Refusal::BadField("wheels")))
    );
    assert_eq!(
        FORMAT.read(&file, |body| body.array::<3>()),
        Err(FORMAT.refuses(Refusal::BadField("length")))
    );
    assert_eq!(
        FORMAT.read(&file[..20], wheels).unwrap_err().why,
        Refusal::WrongLength {
            expected: HEADER_BYTES as u64,
            found: 20
        }
    );
}

#[test]
fn impossible_fields_are_refused_by_name() {
    fn check<T: std::fmt::Debug>(
        write: impl Fn(&mut Writer),
        read: impl Fn(&mut Reader<'_>) -> Result<T, Refusal>,
        field: &'static str,
    ) {
        let mut body = Writer::default();
        write(&mut body);
        let body = body.finish();
        let refused = read(&mut Reader::new(&body)).unwrap_err();
        assert_eq!(refused, Refusal::BadField(field));
    }
    check(|out| out.count(1), |body| body.count("few", 2..=9), "few");
    check(
        |out| out.count(10),
        |body| body.count("many", 2..=9),
        "many",
    );
    check(|out| out.count(2), |body| body.flag("flag"), "flag");
    check(|out| out.f64s(&[f64::NAN]), |body| body.f64("mean"), "mean");
    check(
        |out| out.f64s(&[0.0, f64::INFINITY]),
        |body| body.f64s::<2>("spread"),
        "spread",
    );
    check(
        |out| out.f32s(&[1.0, f32::INFINITY]),
        |body| body.f32s("weight", 2),
        "weight",
    );
    check(
        |out| out.text("abc"),
        |body| body.text("name", 0..=2),
        "name",
    );
    check(|out| out.text(""), |body| body.text("name", 1..=2), "name");
    let latin = |out: &mut Writer| {
        out.count(1);
        out.bytes(&[0xe9]);
    };
    check(latin, |body| body.text("name", 1..=2), "name");
}

/// Lengths that are in range but not in the body must not reserve memory, nor overflow.
#[test]
fn a_lying_length_is_refused() {
    let short = [1, 0, 0, 0];
    let lies = [
        Reader::new(&short).bytes(5).map(<[u8]>::len),
        Reader::new(&short).f32s("weight", 2).map(|it| it.len()),
        Reader::new(&short)
            .f32s("weight", usize::MAX)
            .map(|it| it.len()),
        Reader::new(&short).u64s(usize::MAX / 8).map(|it| it.len()),
        Reader::new(&short).u64s(usize::MAX / 4).map(|it| it.len()),
        Reader::new(&short)
            .text("name", 0..=usize::MAX)
            .map(|it| it.len()),
    ];
    assert_eq!(lies, [Err(Refusal::BadField("length")); 6]);
}

#[test]
fn a_file_on_disk_is_replaced_whole_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.model");
    for count in [3, 4] {
        let mut body = Writer::default();
        body.count(count);
        save(&path, &FORMAT.seal(&body.finish())).unwrap();
        let read = FORMAT.load(&path, wheels);
        assert_eq!(read.unwrap(), count);
    }
    let names = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(names.count(), 1, "nothing is left beside it");

    // A part that cannot be written leaves the file as it was.
    std::fs::create_dir(folder.path().join("toy.model.part")).unwrap();
    assert!(save(&path, b"").is_err());
    assert_eq!(FORMAT.load(&path, wheels).unwrap(), 4);
}

#[test]
fn what_is_no_model_on_disk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.model");
    let load = || FORMAT.load(&path, wheels).unwrap_err();
    assert!(matches!(load(), LoadError::Io(_)));
    std::fs::write(&path, [0; 500]).unwrap();
    let LoadError::Refused(refused) = load() else {
        panic!("the file was read");
    };
    // One byte too many is enough to know.
    assert_eq!(refused, FORMAT.refuses(Refusal::TooLarge(129)));
}

proptest! {
    #[test]
    fn fields_come_back_as_they_were(
        count in 0usize..1_000,
        flag: bool,
        longs in prop::collection::vec(any::<u64>(), 0..5),
        singles in prop::collection::vec(-1e30f32..1e30, 0..5),
        doubles in prop::array::uniform2(-1e300f64..1e300),
        text in ".{0,8}",
    ) {
        let mut out = Writer::default();
        out.count(count);
        out.flag(flag);
        out.u64s(&longs);
        out.f32s(&singles);
        out.f64s(&doubles);
        out.text(&text);
        let body = out.finish();
        let mut input = Reader::new(&body);
        prop_assert_eq!(input.count("count", 0..=999), Ok(count));
        prop_assert_eq!(input.flag("flag"), Ok(flag));
        prop_assert_eq!(input.u64s(longs.len()), Ok(longs));
        prop_assert_eq!(input.f32s("single", singles.len()), Ok(singles));
        prop_assert_eq!(input.f64s("double"), Ok(doubles));
        prop_assert_eq!(input.text("text", 0..=32), Ok(text));
        prop_assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = FORMAT.open(&bytes);
        let mut input = Reader::new(&bytes);
        while input.text("text", 0..=16).is_ok() && input.f32s("single", 3).is_ok() {}
        let _ = input.u64();
        let _ = input.finish();
    }
}
