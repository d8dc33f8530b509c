//! Who is asked: a server of ours with our own identity, or any other in somebody's name.

use std::sync::Arc;

use http::{Request, Response};

use super::FetchError;
use crate::{
    api::user::UserInfo,
    body::Body,
    servers::{OwnRequestError, Server, pool::SendErrorKind},
};

/// Somebody who can be asked what he serves.
pub trait Origin: Send + Sync {
    /// Its name, for logs.
    fn name(&self) -> &str;

    /// Whether many questions at once are cheap, because they share a connection.
    fn speaks_http2(&self) -> bool;

    /// Asks `request`, as `user` if that is for the asker to say.
    ///
    /// # Errors
    /// [`FetchError::Untrusted`], [`FetchError::Silence`] or [`FetchError::NoAnswer`].
    fn send(
        &self,
        user: &UserInfo,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, FetchError>> + Send;
}

impl Origin for Arc<Server> {
    fn name(&self) -> &str {
        &self.name
    }

    fn speaks_http2(&self) -> bool {
        self.health.speaks_http2()
    }

    async fn send(&self, user: &UserInfo, request: Request<Body>) -> Result<Response<Body>, FetchError> {
        let path = request.uri().path().to_owned();
        self.send_as(user, request).await.map_err(|error| {
            let text = error.to_string();
            match error {
                OwnRequestError::Send(error) if error.kind == SendErrorKind::Tls => {
                    FetchError::Untrusted { path, error: text }
                }
                OwnRequestError::Send(error) if error.kind == SendErrorKind::Unanswered => {
                    FetchError::Silence { path, error: text }
                }
                _ => FetchError::NoAnswer { path, error: text },
            }
        })
    }
}
