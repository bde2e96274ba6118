//! Outages of a story: processes that stop and start again, and packets that were sealed meanwhile.

use serde_json::json;

use super::Play;
use crate::demo::local::field;
use crate::demo::problem::{Problem, Result};
use crate::demo::stage::BROKER;
use crate::demo::step::Outage;
use crate::demo::story::Scene;

const STALE: &str = "DENY_STALE_ROSTER";

impl Play<'_> {
    /// Stops processes, or starts them again.
    pub(super) fn outage(&mut self, outage: &Outage, scene: &Scene) -> Result<()> {
        let line = if outage.over {
            self.stage.start_again(&outage.whose)?;
            "start"
        } else {
            self.stage.stop(&outage.whose)?;
            "stop"
        };
        let name = |id: &String| match id.as_str() {
            BROKER => self.tale.line(BROKER, &[]),
            id => self.stage.story().agency(id),
        };
        let names: Vec<_> = outage.whose.iter().map(name).collect();
        let words = self.tale.line(line, &[("who", &names.join(", "))]);
        self.did(scene, &words, None);
        Ok(())
    }

    /// The broker refused a packet for the roster that it was sealed for, and its sender sealed it anew: the
    /// agent does that for no other reason.
    pub(super) fn sealed_anew(&mut self, place: usize, scene: &Scene) -> Result<()> {
        let sent = self
            .sent
            .get(place)
            .ok_or_else(|| Problem::new("no such packet"))?;
        let (first, now) = (sent.first, sent.id);
        let record = self
            .local(&sent.sender)?
            .must("GET", &format!("/v1/packets/{first}"), None)?;
        let so = field(&record, "state") == "replaced" && record.get("replaced_by") == Some(&json!(now));
        let differs = (!so).then(|| format!("sealed anew; the first one is {record}"));
        let words = self
            .tale
            .line("anew", &[("reason", &self.tale.outcome("denied", STALE))]);
        self.did(scene, &words, differs);
        Ok(())
    }
}
