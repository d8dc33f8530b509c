//! Which forms of discovery a server speaks: what tells Kubernetes versions apart that no recording shows.

use std::sync::atomic::{AtomicU8, Ordering};

use super::accept::Form;

/// The forms of discovery that a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forms {
    /// `apidiscovery.k8s.io/v2`, before 1.35 `v2beta1` too, and the unaggregated lists: since 1.30.
    #[default]
    V2,
    /// `v2beta1` and the unaggregated lists: 1.26 to 1.29.
    V2Beta1,
    /// `/api`, `/apis`, `/apis/<group>` and `/apis/<group>/<version>`, nothing else: before 1.26.
    Unaggregated,
}

/// The forms of a running server.
#[derive(Debug)]
pub(super) struct Spoken(AtomicU8);

// === impl Forms ===

impl Forms {
    const ALL: [Self; 3] = [Self::V2, Self::V2Beta1, Self::Unaggregated];

    /// The aggregated ones among them, for a server whose v2 came with or without `v2beta1`.
    pub(super) fn aggregated(self, beta_beside_v2: bool) -> &'static [Form] {
        match self {
            Self::V2 if beta_beside_v2 => &[Form::V2, Form::V2Beta1],
            Self::V2 => &[Form::V2],
            Self::V2Beta1 => &[Form::V2Beta1],
            Self::Unaggregated => &[],
        }
    }
}

// === impl Spoken ===

impl Spoken {
    pub(super) fn new(forms: Forms) -> Self {
        Self(AtomicU8::new(forms as u8))
    }

    pub(super) fn get(&self) -> Forms {
        Forms::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }

    pub(super) fn set(&self, forms: Forms) {
        self.0.store(forms as u8, Ordering::Relaxed);
    }
}
