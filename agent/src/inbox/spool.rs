//! A delivery while it comes in: its ciphertext goes to files, bounded by what was offered. Nothing of
//! it is believed yet, and nothing of it survives a restart.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use schakel_proto::ids::{DeliveryId, Digest, PacketId};
use schakel_proto::limits;
use schakel_proto::wire;

use crate::disk::Disk;
use crate::problem::Problem;

/// Longest ciphertext of a part: the largest padded part and its AEAD tags, in bytes.
const STREAM_MAX_BYTES: u64 = limits::PART_MAX_BYTES + (limits::PART_MAX_BYTES >> 4);

fn broken(sentence: impl Into<String>) -> Problem {
    Problem::distrust("DELIVERY_MALFORMED", sentence)
}

/// One stream of ciphertext.
struct Stream {
    path: PathBuf,
    file: File,
    length: u64,
    written: u64,
}

/// A delivery under way.
pub struct Incoming {
    id: DeliveryId,
    dir: PathBuf,
    manifest: wire::Signed,
    streams: BTreeMap<u32, Stream>,
}

impl Incoming {
    /// Begins a delivery: bounds the offer and makes its files.
    pub fn begin(disk: &Disk, spool: &Path, offer: &wire::Offer) -> Result<Self, Problem> {
        let id = DeliveryId::try_from(&*offer.delivery).map_err(|e| broken(e.to_string()))?;
        let manifest = offer
            .manifest
            .clone()
            .ok_or_else(|| broken("an offer without a manifest"))?;
        if manifest.bytes.len() > limits::MANIFEST_MAX_BYTES
            || manifest.signature.len() > limits::SIGNATURE_MAX_BYTES
        {
            return Err(broken("an offer whose manifest is too long"));
        }
        if !(1..=limits::PARTS_MAX_COUNT).contains(&offer.streams.len()) {
            return Err(broken(format!("an offer of {} parts", offer.streams.len())));
        }
        let dir = spool.join(id.to_string());
        disk.make_dir(&dir)?;
        let mut incoming = Self {
            id,
            dir,
            manifest,
            streams: BTreeMap::new(),
        };
        for stream in &offer.streams {
            incoming.add(disk, stream)?;
        }
        Ok(incoming)
    }

    fn add(&mut self, disk: &Disk, stream: &wire::OfferedStream) -> Result<(), Problem> {
        if !(1..=STREAM_MAX_BYTES).contains(&stream.length) {
            return Err(broken(format!("a part of {} bytes", stream.length)));
        }
        if self.streams.contains_key(&stream.stream) {
            return Err(broken("two parts of one number"));
        }
        let path = self.dir.join(format!("{}.part", stream.stream));
        let file = disk.create(&path)?;
        let one = Stream {
            path,
            file,
            length: stream.length,
            written: 0,
        };
        self.streams.insert(stream.stream, one);
        Ok(())
    }

    /// Takes a chunk: the next bytes of one stream.
    pub fn chunk(&mut self, chunk: &wire::Chunk) -> Result<(), Problem> {
        let stream = self
            .streams
            .get_mut(&chunk.stream)
            .ok_or_else(|| broken("a chunk of no offered part"))?;
        let count = chunk.data.len() as u64;
        let fits = count > 0
            && chunk.data.len() <= limits::CHUNK_MAX_BYTES
            && chunk.offset == stream.written
            && stream.written + count <= stream.length;
        if !fits {
            return Err(broken("a chunk that does not continue its part"));
        }
        stream
            .file
            .write_all(&chunk.data)
            .map_err(|e| Problem::io(&e, &stream.path))?;
        stream.written += count;
        Ok(())
    }

    /// Its id, the lease token.
    pub fn id(&self) -> DeliveryId {
        self.id
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest as offered; not verified.
    pub fn manifest(&self) -> &wire::Signed {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest.bytes)
    }

    /// The packet that the unverified manifest names, for messages.
    pub fn claimed_packet(&self) -> Option<PacketId> {
        let manifest = <wire::Manifest as prost::Message>::decode(&*self.manifest.bytes).ok()?;
        PacketId::try_from(&*manifest.packet_id).ok()
    }

    /// The file of a stream whose last byte has come.
    pub fn complete(&self, number: u32) -> Result<&Path, Problem> {
        let stream = self
            .streams
            .get(&number)
            .ok_or_else(|| broken("a part that was not offered"))?;
        if stream.written == stream.length {
            return Ok(&stream.path);
        }
        let sentence = format!(
            "{} of {} bytes of a part came before it was handed over",
            stream.written, stream.length
        );
        Err(Problem::distrust("DELIVERY_TRUNCATED", sentence))
    }

    /// How many parts were offered.
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    /// Forgets it: its files are removed.
    pub fn discard(self, disk: &Disk) -> Result<(), Problem> {
        disk.remove_dir(&self.dir)
    }
}
