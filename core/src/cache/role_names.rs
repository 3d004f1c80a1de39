//! The cache of role names that came from management tokens.

use std::collections::HashMap;

use crate::{postgres::role_name::Principal, runtime::ForkShared};

type Names = HashMap<(String, String), Option<String>>;

/// Role names from management tokens by (tenant, object id), for the life of the process. `None` means that the token
/// contains no name.
static NAMES: ForkShared<Names> = ForkShared::new();

/// Returns the name in the management token of a principal, if it was looked up before.
pub(crate) fn remembered_name(principal: &Principal) -> Option<Option<String>> {
    NAMES.load().get(&(principal.tid.clone()?, principal.oid.clone()?)).cloned()
}

/// Forgets all names.
pub(super) fn clear() {
    NAMES.clear();
}

/// Stores the name in the management token of a principal.
pub(crate) fn remember_name(principal: &Principal, name: Option<&str>) {
    if let (Some(tid), Some(oid)) = (&principal.tid, &principal.oid) {
        NAMES.rcu(|names| {
            let mut next = Names::clone(names);
            // A name is short, but a service that acts on behalf of its users can have many.
            if next.len() >= 100_000 {
                next.clear();
            }
            next.insert((tid.clone(), oid.clone()), name.map(str::to_owned));
            next
        });
    }
}
