//! The proxy before real kube-apiservers, driven by real kubectls and a client of our own.
//!
//! What is needed comes from the environment (see [`kit::binaries`]); without it each test says SKIPPED on
//! stderr and passes, unless `KPP_REAL=1` makes that a failure. Run them two at a time:
//!
//! ```text
//! KPP_REAL=1 cargo test --locked --test it real:: -- --test-threads=2
//! ```
//!
//! [`timeline`] and [`conclusions`] compare what they see with their tables in README.md, and with
//! `KPP_WRITE_TABLES=1` write those.

mod admission;
mod chains;
mod clients;
mod conclusions;
mod domains;
mod everyone;
mod failures;
mod fleets;
mod flood;
mod inspect;
mod kit;
mod kubeadm;
mod kubectl;
mod manifests;
mod native;
mod page;
mod plugin;
mod proxied;
mod readme;
mod resize;
mod starting;
mod timeline;
mod tunnels;
mod watch_checker;
mod watches;
mod whoami;

use crate::kit::say;

/// Announced like this, a test that did not run cannot be taken for one that passed.
macro_rules! fleet {
    ($fleet:expr) => {
        match $fleet {
            Ok(fleet) => fleet,
            Err(missing) => {
                assert!(std::env::var_os("KPP_REAL").is_none_or(|real| real != "1"), "{missing}");
                $crate::kit::say!("SKIPPED {}: {missing}", module_path!());
                return;
            }
        }
    };
}
use fleet;
