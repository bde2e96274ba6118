//! Newer versions of a network's directory: agencies added and removed, keys changed. Each change is
//! signed as the next version and replaces the file at once; a running broker takes it up by itself.

use std::path::Path;

use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::directory::Directory;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::{LogKey, SignedCheckpoint};
use schakel_proto::wire;

use crate::files::{self, Access};
use crate::mint::{self, DIRECTORY_LIFE_MILLIS};
use crate::network::Network;
use crate::problem::Problem;
use crate::settings::Ports;
use crate::spec::AgencySpec;
use crate::tls::Use;
use crate::witness;

const KEPT_CERTIFICATES_MAX_COUNT: usize = 16;
const UNKNOWN: &str = "Name an agency of the network: certs-dev show lists them.";

impl Network {
    /// Issues the next version with no other change, so that it is fresh again.
    ///
    /// # Errors
    /// The network's files are missing, damaged or cannot be written. Returns the version.
    pub fn refresh(&self, at: Timestamp) -> Result<u64, Problem> {
        self.reissue(at, |_| Ok(()))
    }

    /// Signs the next version with any change of its message, even one that parties must refuse: for
    /// tests. Nothing is written.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub fn issue_changed(
        &self,
        at: Timestamp,
        change: impl FnOnce(&mut wire::Directory),
    ) -> Result<wire::MultiSigned, Problem> {
        let mut directory = self.next(at)?;
        let before: Vec<_> = directory
            .agencies
            .iter()
            .map(|agency| agency.id.clone())
            .collect();
        change(&mut directory);
        // Who left is no witness any more: else nobody would take the directory.
        for gone in &before {
            let left = directory.agencies.iter().all(|agency| agency.id != *gone);
            if let Some(log) = directory.log.as_mut().filter(|_| left) {
                witness::forget(log, gone);
            }
        }
        mint::sign_directory(self, &directory, at)
    }

    /// Makes a further agency, with keys and configuration, and issues a directory that lists it.
    ///
    /// # Errors
    /// It exists already; else as [`Self::refresh`].
    pub fn add_agency(&mut self, agency: AgencySpec, at: Timestamp) -> Result<u64, Problem> {
        let ports = self.ports()?;
        let dates = mint::Dates { at, tls_at: at };
        let described = mint::new_agency(self, &agency, &self.tls_authority()?, ports, dates)?;
        let origin = self.directory_message()?.log.unwrap_or_default().origin;
        let key = witness::new_key(self, &agency, &origin, &mut StdRng::from_os_rng())?;
        self.spec_mut().agencies.push(agency);
        mint::write_spec(self, files::replace)?;
        self.reissue(at, |directory| {
            directory.agencies.push(described);
            if let Some(log) = &mut directory.log {
                witness::name(log, key);
            }
            Ok(())
        })
    }

    /// Issues a directory without this agency. Its folder stays.
    ///
    /// # Errors
    /// There is no such agency; else as [`Self::refresh`].
    pub fn remove_agency(&mut self, id: &AgencyId, at: Timestamp) -> Result<u64, Problem> {
        let version = self.reissue(at, |directory| {
            let before = directory.agencies.len();
            directory.agencies.retain(|agency| agency.id != id.as_str());
            directory.auditors.retain(|auditor| auditor != id.as_str());
            if let Some(log) = &mut directory.log {
                witness::forget(log, id.as_str());
            }
            if directory.agencies.len() == before {
                Err(unknown(id))
            } else {
                Ok(())
            }
        })?;
        self.spec_mut().agencies.retain(|agency| agency.id != *id);
        mint::write_spec(self, files::replace)?;
        Ok(version)
    }

    /// Issues a directory in which these agencies, and no others, may read the body of every log entry.
    ///
    /// # Errors
    /// One of them is no agency; else as [`Self::refresh`].
    pub fn set_auditors(&self, auditors: &[AgencyId], at: Timestamp) -> Result<u64, Problem> {
        self.reissue(at, |directory| {
            for id in auditors {
                if !directory.agencies.iter().any(|agency| agency.id == id.as_str()) {
                    return Err(unknown(id));
                }
            }
            directory.auditors = auditors.iter().map(ToString::to_string).collect();
            Ok(())
        })
    }

    /// Gives an agency new OpenPGP keys: they take new seals, the former ones still open what is queued
    /// (`openpgp.key.VERSION` keeps them) and are listed behind.
    ///
    /// # Errors
    /// There is no such agency; else as [`Self::refresh`].
    pub fn rotate_openpgp(&self, id: &AgencyId, at: Timestamp) -> Result<u64, Problem> {
        let spec = self
            .spec()
            .agencies
            .iter()
            .find(|agency| agency.id == *id)
            .ok_or_else(|| unknown(id))?;
        let file = self.agent_key_file(id);
        let former = self.directory_message()?.version;
        let kept = file.with_file_name(format!("openpgp.key.{former}"));
        std::fs::rename(&file, &kept).map_err(Problem::at(&file, UNKNOWN))?;
        let keys = mint::new_keys(&file, spec.openpgp, &format!("{} (DEVELOPMENT)", spec.name), at)?;
        let certificate = mint::certificate(&keys)?;
        self.reissue(at, |directory| {
            let agency = entry(directory, id)?;
            agency.certificates.insert(0, certificate.into());
            agency.certificates.truncate(KEPT_CERTIFICATES_MAX_COUNT);
            Ok(())
        })
    }

    /// Gives an agency these OpenPGP keys in place of its own, the first for new seals, the others as former ones
    /// (`openpgp.key.former-N`, which its configuration then names): to play a network whose keys are known.
    ///
    /// # Errors
    /// There is no such agency; else as [`Self::refresh`].
    pub fn adopt_openpgp(&self, id: &AgencyId, keys: &[SecretKeys], at: Timestamp) -> Result<u64, Problem> {
        let file = self.agent_key_file(id);
        let (mut certificates, mut former) = (Vec::new(), Vec::new());
        for (number, keys) in keys.iter().enumerate() {
            let bytes = keys.to_bytes().map_err(Problem::at(&file, UNKNOWN))?;
            let name = format!("openpgp.key.former-{number}");
            let place = if number == 0 {
                file.clone()
            } else {
                file.with_file_name(&name)
            };
            files::replace(&place, &bytes, Access::Private)?;
            certificates.push(mint::certificate(keys)?.into());
            former.extend((number > 0).then(|| format!("{name:?}")));
        }
        if !former.is_empty() {
            let config = self.agent_config(id);
            let text = std::fs::read_to_string(&config).map_err(Problem::at(&config, UNKNOWN))?;
            let text = format!("former_openpgp_keys = [{}]\n{text}", former.join(", "));
            files::replace(&config, text.as_bytes(), Access::Public)?;
        }
        self.reissue(at, |directory| {
            entry(directory, id)?.certificates = certificates;
            Ok(())
        })
    }

    /// Gives an agency a new TLS key and certificate; the former one no longer speaks for it.
    ///
    /// # Errors
    /// There is no such agency; else as [`Self::refresh`].
    pub fn rotate_tls(&self, id: &AgencyId, at: Timestamp) -> Result<u64, Problem> {
        let party = mint::issue(&self.tls_authority()?, id.as_str(), Vec::new(), Use::Client, at)?;
        let version = self.reissue(at, |directory| {
            entry(directory, id)?.tls_identities = vec![party.identity.to_vec().into()];
            Ok(())
        })?;
        mint::write_tls(&self.agent_folder(id), &party, files::replace)?;
        Ok(version)
    }

    /// Freezes the shard of the log that is in force at its last checkpoint, as `schakel-broker log freeze` wrote it, and
    /// names the next one by its key. Without `provisional` enough witnesses must have cosigned that checkpoint.
    ///
    /// # Errors
    /// The checkpoint is not the shard's, or too few cosigned it; else as [`Self::refresh`].
    pub fn freeze_log(
        &self,
        note: &[u8],
        next: &LogKey,
        provisional: bool,
        at: Timestamp,
    ) -> Result<u64, Problem> {
        let wrong = |what: &dyn std::fmt::Display| {
            let remedy =
                "Give the file that `schakel-broker log freeze` wrote once enough witnesses had cosigned it.";
            Problem::new("the last checkpoint", what, remedy)
        };
        let directory = self.directory(at)?;
        let (key, watch) = (directory.log().key(), directory.log().watch());
        let last = SignedCheckpoint::open(note, key).map_err(|error| wrong(&error))?;
        let standing = watch.standing(&last).map_err(|error| wrong(&error))?;
        if watch.count() > 0 && !standing.is_witnessed() && !provisional {
            let (count, needed) = (standing.by().len(), watch.needed());
            return Err(wrong(&format!("{count} witnesses cosigned it, {needed} must")));
        }
        let last = last.bare(key).map_err(|error| wrong(&error))?;
        let frozen = wire::FrozenShard {
            origin: key.origin().to_owned(),
            key: key.public().to_vec().into(),
            checkpoint: last.note().to_vec().into(),
        };
        self.reissue(at, |directory| {
            let log = directory.log.get_or_insert_default();
            log.frozen.push(frozen);
            next.origin().clone_into(&mut log.origin);
            log.key = next.public().to_vec().into();
            Ok(())
        })
    }

    fn next(&self, at: Timestamp) -> Result<wire::Directory, Problem> {
        let mut directory = self.directory_message()?;
        directory.version += 1;
        directory.issued_ms = at.millis();
        directory.valid_until_ms = at.plus_millis(DIRECTORY_LIFE_MILLIS).millis();
        Ok(directory)
    }

    fn reissue(
        &self,
        at: Timestamp,
        change: impl FnOnce(&mut wire::Directory) -> Result<(), Problem>,
    ) -> Result<u64, Problem> {
        let mut directory = self.next(at)?;
        change(&mut directory)?;
        let signed = mint::sign_directory(self, &directory, at)?;
        let file = self.directory_file();
        // What no party would take does not replace what they have.
        let remedy = "Nothing was changed: correct what is asked for.";
        let issued = Directory::verify(&signed, &self.authority()?, &self.spec().network, at);
        let version = issued.map_err(Problem::at(&file, remedy))?.version();
        files::replace(&file, &signed.encode_to_vec(), Access::Public)?;
        Ok(version)
    }

    /// The broker's ports, as its configuration has them.
    fn ports(&self) -> Result<Ports, Problem> {
        let file = self.broker_config();
        let remedy = "Write addresses such as \"127.0.0.1:7443\".";
        let text = std::fs::read_to_string(&file).map_err(Problem::at(&file, remedy))?;
        let settings: toml::Table = text.parse().map_err(Problem::at(&file, remedy))?;
        Ok(Ports {
            grpc: port(&settings, "listen", &file, remedy)?,
            health: port(&settings, "health_listen", &file, remedy)?,
        })
    }
}

fn port(settings: &toml::Table, name: &str, file: &Path, remedy: &'static str) -> Result<u16, Problem> {
    let address = settings.get(name).and_then(toml::Value::as_str);
    let address = address.and_then(|text| text.parse::<std::net::SocketAddr>().ok());
    address
        .map(|a| a.port())
        .ok_or_else(|| Problem::new(file, format!("`{name}` is not an address"), remedy))
}

fn entry<'a>(directory: &'a mut wire::Directory, id: &AgencyId) -> Result<&'a mut wire::Agency, Problem> {
    directory
        .agencies
        .iter_mut()
        .find(|agency| agency.id == id.as_str())
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &AgencyId) -> Problem {
    Problem::new(id.as_str(), "is not an agency of this network", UNKNOWN)
}
