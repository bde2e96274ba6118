//! Looks into a store as a broker does that has just started, and says what it would answer from.

use std::path::Path;

use schakel_broker::store::Store;
use schakel_broker::store::StoreError;
use schakel_broker::store::sled::SledStore;
use schakel_proto::ids::PacketId;

/// Says `seen PACKET` of each of these that is there, `seen-checkpoint SIZE`, then `looked`, and waits to be killed.
/// Nothing is changed: what was seen must be there after a power cut, whoever wrote it.
///
/// # Errors
/// The store could not be opened or read.
pub async fn look(folder: &Path, packets: &[PacketId]) -> Result<(), StoreError> {
    let store = SledStore::open(&folder.join("data")).await?;
    for packet in packets {
        if store.packet(*packet).await?.is_some() {
            println!("seen {packet}");
        }
    }
    let size = store.latest_checkpoint().await?.map_or(0, |c| c.size);
    println!("seen-checkpoint {size}\nlooked");
    std::future::pending::<()>().await;
    Ok(())
}

/// After a power cut: which of these packets are not there, and the size of the newest checkpoint.
///
/// # Errors
/// The store could not be opened or read.
pub async fn missing(folder: &Path, packets: &[PacketId]) -> Result<(Vec<PacketId>, u64), StoreError> {
    let store = SledStore::open(&folder.join("data")).await?;
    let mut gone = Vec::new();
    for packet in packets {
        if store.packet(*packet).await?.is_none() {
            gone.push(*packet);
        }
    }
    let size = store.latest_checkpoint().await?.map_or(0, |c| c.size);
    store.close().await;
    Ok((gone, size))
}
