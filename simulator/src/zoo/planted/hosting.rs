//! Defects of hosting and validation.

use super::Planted;

impl Planted {
    /// 60: writes are decided by a store that has never heard of any host.
    pub(super) fn does_not_fence(self) -> bool {
        self.is(60)
    }

    /// 129: the server runs without its rules.
    pub(super) fn has_no_rules(self) -> bool {
        self.is(129)
    }
}
