//! Who may do what, as one table. Everything else asks here.

use crate::model::member::Role;

/// Declares what may be allowed, and for each role whether it is.
macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: $member:literal $admin:literal $owner:literal,)+) => {
        /// Something that a role allows, or does not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission {
            $($(#[$doc])* $name,)+
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Whether somebody in this role has it.
            pub const fn is_given_to(self, role: Role) -> bool {
                let (member, admin, owner) = match self {
                    $(Self::$name => ($member, $admin, $owner),)+
                };
                match role {
                    Role::Member => member,
                    Role::Admin => admin,
                    Role::Owner => owner,
                }
            }
        }
    };
}

permissions! {
    //                      member admin owner
    /// See, make, rename, rotate and end one's own keys.
    OwnKeys:                true   true  true,
    /// See and end every key of the organization.
    OrganizationKeys:       false  true  true,
    /// See who is there, and who is invited.
    SeeMembers:             false  true  true,
    /// Invite, promote, demote and remove members and admins.
    ManageMembers:          false  true  true,
    /// The same, of owners.
    ManageOwners:           false  false true,
    /// Make and end service accounts, and keys of theirs.
    ManageServiceAccounts:  false  true  true,
    /// Read the audit log.
    ReadAudit:              false  true  true,
    /// See gateways, their leases, and how far they follow.
    SeeStatus:              false  true  true,
    /// End every key of the organization at once.
    RevokeEverything:       false  false true,
}

impl Permission {
    /// The permission that a change of a member with the old or the new role needs: only owners change
    /// owners.
    pub fn to_manage(roles: &[Role]) -> Self {
        if roles.contains(&Role::Owner) {
            Self::ManageOwners
        } else {
            Self::ManageMembers
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_role_may_all_that_a_lower_one_may() {
        for permission in Permission::ALL {
            let given = Role::ALL.map(|role| permission.is_given_to(role));
            assert!(given.is_sorted(), "{permission:?}: {given:?}");
            assert!(given[2], "{permission:?}: an owner may everything");
        }
    }

    #[test]
    fn only_owners_touch_owners() {
        for (roles, expected) in [
            (vec![Role::Member], Permission::ManageMembers),
            (vec![Role::Admin, Role::Member], Permission::ManageMembers),
            (vec![Role::Member, Role::Owner], Permission::ManageOwners),
            (vec![Role::Owner, Role::Admin], Permission::ManageOwners),
        ] {
            assert_eq!(Permission::to_manage(&roles), expected);
        }
        assert!(!Permission::ManageOwners.is_given_to(Role::Admin));
        assert!(!Permission::RevokeEverything.is_given_to(Role::Admin));
    }
}
