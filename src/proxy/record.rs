//! What became of a request, for its access line and its metrics. Holds no credential (I12).

use std::sync::Arc;

use http::StatusCode;

use super::{caller::Caller, route::Reason};
use crate::{
    api::{request_info::RequestInfo, status::Status},
    servers::source::Fleet,
};

/// Filled while a request is answered; travels in the response's extensions.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Who called, as [`Caller::label`] has it.
    pub user: String,
    /// How the caller was authenticated.
    pub caller: &'static str,
    /// Kubernetes' verb.
    pub verb: String,
    /// Whether it may last.
    pub long_running: bool,
    /// The resource asked for; empty parts where there is none.
    pub group: String,
    /// See `group`.
    pub version: String,
    /// See `group`.
    pub resource: String,
    /// Why it went where it went.
    pub reason: &'static str,
    /// The server that it was to go to, where it did not simply go there: it was rerouted, or refused.
    pub home: Option<Arc<str>>,
    /// The server that answered.
    pub server: Option<Arc<str>>,
    /// The class of the connection to it.
    pub class: &'static str,
    /// That server is another one than home.
    pub rerouted: bool,
    /// How many servers it was sent to.
    pub attempts: u32,
    /// What we refused it with.
    pub error: Option<(StatusCode, String)>,
    /// The number of [`Self::home`], whatever became of the request.
    pub(super) number: Option<usize>,
}

// === impl Record ===

impl Record {
    pub(super) fn asked(&mut self, info: &RequestInfo<'_>) {
        self.verb = info.verb.clone().into_owned();
        self.long_running = info.is_long_running();
        if info.is_resource {
            self.group = info.group.to_owned();
            self.version = info.version.to_owned();
            self.resource = match info.subresource {
                "" => info.resource.to_owned(),
                subresource => format!("{}/{subresource}", info.resource),
            };
        }
    }

    pub(super) fn called_by(&mut self, caller: &Caller) {
        self.user = caller.label().to_owned();
        self.caller = caller.kind();
    }

    pub(super) fn decided(&mut self, reason: Reason) {
        self.reason = reason.as_str();
    }

    /// Looks up home's name, if what became of the request is worth it.
    pub(super) fn name_home(&mut self, fleet: &Fleet) {
        let number = self.number.filter(|_| self.rerouted || self.error.is_some());
        self.home = number.map(|number| Arc::clone(&fleet.get(number).name));
    }

    pub(super) fn refused(&mut self, status: &Status) {
        self.error = Some((status.code, status.message.clone()));
    }
}
