//! The contracts as Rust: messages, clients and server traits of every service, the descriptor set
//! that reflection serves, and the policy table that the contracts carry.
//!
//! Generated code only, plus the lookup functions. No behaviour lives here.

pub mod policy;

/// The encoded `FileDescriptorSet` of every contract with its imports and custom options.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

macro_rules! contract {
    ($($service:ident),+ $(,)?) => { $(
        #[doc = concat!("Generated from `proto/rapport/", stringify!($service), "/v1`.")]
        pub mod $service {
            #[doc = concat!("`rapport.", stringify!($service), ".v1`.")]
            #[allow(missing_docs, clippy::all, clippy::allow_attributes, reason = "generated code")]
            #[allow(clippy::str_to_string, clippy::wildcard_enum_match_arm, reason = "generated code")]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/rapport.", stringify!($service), ".v1.rs"));
            }
        }
    )+ };
}

contract!(r#type, event, profile, recommend, ads, care, evaluate);
