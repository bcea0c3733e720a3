//! One process, five services: the same layers and channels over pipes in memory.

use std::io::Write;

use rapport_rpc::{
    AuthConfig, AuthMode, Caller, ServeConfig, connect_in_process, in_process, reason_of,
};

use crate::support::{READ, Raw, call, client_config, frame, run, server, tiny};

#[tokio::test]
async fn a_channel_made_before_the_server_works_and_needs_no_token() {
    let (connector, incoming) = in_process();
    let channel = connect_in_process(&connector, &client_config(""));
    let early = tokio::spawn(call(channel.clone(), READ, "early"));

    let mut key = tempfile::NamedTempFile::new().unwrap();
    write!(key, "{}", "k".repeat(32)).unwrap();
    let auth = AuthConfig {
        auth: AuthMode::Hs256,
        auth_key_file: Some(key.path().to_owned()),
        ..AuthConfig::default()
    };
    let config = ServeConfig {
        auth,
        ..ServeConfig::local_test()
    };
    let routes = tiny(|_, request| async move {
        Ok(format!(
            "{} from {}",
            request.get_ref(),
            Caller::of(&request).name
        ))
    });
    let server = run(server(config, routes).in_process(incoming));
    assert_eq!(early.await.unwrap().unwrap(), "early from local");
    assert_eq!(
        call(channel.clone(), READ, "late").await.unwrap(),
        "late from local"
    );

    let status = Raw::connect(server.address)
        .await
        .post(READ, &[], &frame(&[]))
        .await;
    assert_eq!(
        reason_of(&status).unwrap(),
        "TOKEN_MISSING",
        "others do need one"
    );
    server.stop().await;
    let gone = call(channel, READ, "").await.unwrap_err();
    assert_eq!(reason_of(&gone).unwrap(), "TRANSPORT");
}
