//! Reflection, v1 and v1alpha: both clients in use ask differently, and grpcurl can show error details
//! only when their descriptors are here.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Names in the answer are those that this process serves: the descriptor set has every service's.
fn builder(services: &[&'static str], reflection: &'static str) -> Builder<'static> {
    let standard = ["grpc.health.v1.Health", reflection];
    let names = services.iter().copied().chain(standard);
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(rapport_api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    names.fold(builder, |builder, name| builder.with_service_name(name))
}

/// Adds both versions to `routes`. Errors: a descriptor set that does not parse.
pub(crate) fn add(routes: Routes, services: &[&'static str]) -> Result<Routes, Error> {
    let v1 = builder(services, "grpc.reflection.v1.ServerReflection").build_v1()?;
    let alpha = builder(services, "grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?;
    Ok(routes.add_service(v1).add_service(alpha))
}
