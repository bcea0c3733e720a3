//! Reflection, v1 and v1alpha: both clients in use ask differently, and grpcurl can show error details
//! only when their descriptors are here.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(rapport_api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Adds both versions to `routes`. Errors: a descriptor set that does not parse.
pub(crate) fn add(routes: Routes) -> Result<Routes, Error> {
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}
