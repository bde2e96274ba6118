//! Who the broker is: the name in its certificate and the key that the directory lists.

use std::collections::BTreeMap;

use schakel_agent::keyring::TlsIdentity;
use schakel_agent::transport::{Transport, tls::Pins};
use schakel_proto::ids::Digest;
use schakel_proto::wire;

use crate::support::broker;
use crate::support::parcel::RECIPIENT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i06_n15_a_broker_with_another_name_or_key_is_not_spoken_to() {
    let (town, _running) = broker::start(None).await;
    let config = town.config(RECIPIENT);
    let identity = TlsIdentity::load(&config).unwrap();
    let ask = |keys: Option<Vec<Digest>>| {
        let pins = std::sync::Arc::new(Pins::default());
        if let Some(keys) = keys {
            let name = config.brokers[0].name.clone();
            pins.set(BTreeMap::from([(name, keys)]));
        }
        let (_, mut client) = Transport::new(&config, &identity, pins).unwrap().client();
        async move {
            client
                .get_directory(wire::GetDirectoryRequest { known_version: 0 })
                .await
        }
    };
    let listed = town.directory().brokers()[0].tls_identities().to_vec();
    assert!(ask(Some(listed)).await.is_ok());
    assert!(ask(Some(vec![Digest::of(b"another key")])).await.is_err());
    let (other_town, _other) = broker::start(Some("caw-rupel")).await;
    let config = other_town.config(RECIPIENT);
    let identity = TlsIdentity::load(&config).unwrap();
    let pins = std::sync::Arc::new(Pins::default());
    let (_, mut client) = Transport::new(&config, &identity, pins).unwrap().client();
    let asked = client
        .get_directory(wire::GetDirectoryRequest { known_version: 0 })
        .await;
    assert!(asked.is_err(), "a member's certificate is not the broker's");
}
