//! Until when the certificates in use are good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    config::{Expiry, Loaded},
    limits,
    metrics::{CertificateLabels, Metrics},
};

/// Has the metrics say until when each certificate is good.
pub(super) fn show(in_use: &Loaded, metrics: &Metrics) {
    let labelled = in_use.expiries().into_iter().map(|expiry| {
        let Expiry { certificate, server, subject, not_after } = expiry;
        let subject = subject.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { '?' } else { c });
        let subject = subject.take(limits::MAX_SUBJECT).collect();
        (CertificateLabels { certificate, server, subject }, not_after)
    });
    metrics.reload.expiries(labelled);
}

/// Says which certificates expire soon, and maybe which have expired.
pub(super) fn warn(in_use: &Loaded, expired_too: bool) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for expiry in in_use.expiries() {
        let Some(left) = left(&expiry, now) else { continue };
        let Expiry { certificate, server, subject, not_after } = expiry;
        let at = OffsetDateTime::from_unix_timestamp(not_after).ok().and_then(|at| at.format(&Rfc3339).ok());
        let at = at.unwrap_or_default();
        if !left.is_zero() {
            tracing::warn!(certificate, %server, subject, at, "a certificate expires soon");
        } else if expired_too {
            tracing::warn!(certificate, %server, subject, at, "a certificate has expired");
        }
    }
}

/// How long a certificate is good, if that is worth a word; zero if it isn't any more.
fn left(expiry: &Expiry, now: Duration) -> Option<Duration> {
    let end = Duration::from_secs(u64::try_from(expiry.not_after).unwrap_or_default());
    Some(end.saturating_sub(now)).filter(|left| *left <= limits::EXPIRY_WARNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(not_after: i64) -> Expiry {
        Expiry { certificate: "serving", server: "".into(), subject: "CN=x".into(), not_after }
    }

    #[test]
    fn a_certificate_is_worth_a_word_from_seven_days_before_its_end() {
        const DAY: u64 = 24 * 60 * 60;
        let now = Duration::from_secs(1000 * DAY);
        let in_days = |days: i64| left(&until((1000 + days) * DAY as i64), now);
        assert_eq!(in_days(8), None);
        assert_eq!(in_days(7), Some(Duration::from_secs(7 * DAY)));
        assert_eq!(in_days(0), Some(Duration::ZERO));
        assert_eq!(in_days(-1), Some(Duration::ZERO));
        assert_eq!(left(&until(-1), now), Some(Duration::ZERO));
    }
}
