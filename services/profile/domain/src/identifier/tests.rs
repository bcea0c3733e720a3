//! Spellings and what they become.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn check(kind: IdentifierKind, raw: &str, expected: Result<&str, IdentifierError>) {
    let found = parse_identifier(kind, raw, PhoneRegion::default());
    assert_eq!(
        found.as_ref().map(Identifier::text),
        expected.as_ref().map(|text| *text),
        "{raw:?}"
    );
}

#[test]
fn phones_become_e164() {
    use IdentifierKind::Phone;
    for spelling in [
        "13800138000",
        "138 0013 8000",
        "+86 138-0013-8000",
        "008613800138000",
        "8613800138000",
        "+86(138)0013.8000",
        "１３８００１３８０００",
        "＋８６１３８００１３８０００",
    ] {
        check(Phone, spelling, Ok("+8613800138000"));
    }
    check(Phone, "010-12345678", Ok("+861012345678")); // Beijing landline: the trunk 0 goes
    check(Phone, "+44 20 7946 0958", Ok("+442079460958"));
    check(Phone, "0044 20 7946 0958", Ok("+442079460958"));
    for bad in [
        "110",
        "phone",
        "+",
        "+0123456789",
        "1234567890123456",
        "138001380OO",
        "++8613800138000",
    ] {
        check(Phone, bad, Err(IdentifierError::Phone));
    }
    let british = PhoneRegion { calling_code: 44 };
    let found = parse_identifier(Phone, "020 7946 0958", british).unwrap();
    assert_eq!(found.text(), "+442079460958");
}

#[test]
fn emails_lose_case_and_space() {
    use IdentifierKind::Email;
    check(Email, "  Li.Lei@Example.COM ", Ok("li.lei@example.com"));
    check(Email, "han＠example.cn", Ok("han@example.cn"));
    for bad in [
        "nobody",
        "@example.com",
        "a@b",
        "a@b..c",
        "a b@example.com",
        "a@@example.com",
        "a@exa mple.com",
    ] {
        check(Email, bad, Err(IdentifierError::Email));
    }
}

#[test]
fn the_rest_is_trimmed_and_cased_by_kind() {
    check(IdentifierKind::Login, " LiLei ", Ok("LiLei"));
    check(IdentifierKind::Wechat, "oXy_AbC", Ok("oXy_AbC"));
    check(IdentifierKind::Device, "A1B2-C3", Ok("a1b2-c3"));
    check(IdentifierKind::Invoice, "c536379", Ok("C536379"));
    check(
        IdentifierKind::LoyaltyCard,
        "6222 0000-ab",
        Ok("62220000AB"),
    );
    check(
        IdentifierKind::LoyaltyCard,
        " - ",
        Err(IdentifierError::Empty),
    );
    check(
        IdentifierKind::Login,
        "\u{3000} ",
        Err(IdentifierError::Empty),
    );
    check(IdentifierKind::Login, "a\tb", Err(IdentifierError::Control));
}

#[test]
fn length_is_counted_in_characters() {
    let longest = "王".repeat(IDENTIFIER_CHARS_MAX);
    check(IdentifierKind::Login, &longest, Ok(&longest));
    let longer = "王".repeat(IDENTIFIER_CHARS_MAX + 1);
    check(
        IdentifierKind::Login,
        &longer,
        Err(IdentifierError::TooLong(IDENTIFIER_CHARS_MAX + 1)),
    );
}

#[test]
fn debug_hides_the_value_and_names_round_trip() {
    let found = parse_identifier(IdentifierKind::Login, "canary", PhoneRegion::default()).unwrap();
    assert!(!format!("{found:?}").contains("canary"));
    for kind in IdentifierKind::ALL {
        assert_eq!(IdentifierKind::parse(kind.name()), Some(kind));
    }
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(
        kind in prop::sample::select(IdentifierKind::ALL.to_vec()),
        raw in "\\PC{0,40}|[ +0-9()-]{0,24}|[a-zA-Z.@ ]{0,30}",
    ) {
        if let Ok(once) = parse_identifier(kind, &raw, PhoneRegion::default()) {
            prop_assert_eq!(parse_identifier(kind, once.text(), PhoneRegion::default()), Ok(once));
        }
    }
}
