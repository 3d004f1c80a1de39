//! The table of the errors with which the proxy refuses a login.

use serde::{Deserialize, Serialize};

use crate::jwt;

/// Why a login is refused. The names are those of `refuse_with` and `refusal` in the control endpoint's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginError {
    /// The connection is not encrypted.
    NoEncryption,
    /// A role of that name does not exist; names are case-sensitive.
    RoleMissing,
    /// The role has no security label, so it has its own password, and the given password is wrong.
    PasswordFailed,
    /// The password is not a JSON Web Token.
    TokenMalformed,
    /// The token's signature is not from the tenant.
    TokenForged,
    /// The token is from another tenant.
    TokenOfOtherTenant,
    /// The token is for another resource.
    TokenAudience,
    /// The token is not valid yet.
    TokenNotYetValid,
    /// The token has expired.
    TokenExpired,
    /// The token has no object id.
    TokenWithoutOid,
    /// An application's token for a role of type user.
    AppTokenForUserRole,
    /// A user's token for a role of type service.
    UserTokenForServiceRole,
    /// The token has the right type, but is for a principal other than the role's.
    OtherPrincipal,
    /// The role belongs to a group, and the token's principal is not a member.
    NotInGroup,
    /// The server has no free connections. Only tests of clients trigger this.
    TooManyConnections,
    /// The server is starting. Only tests of clients trigger this.
    StartingUp,
}

/// How well an entry is known to match Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Text and SQLSTATE were seen on a real server.
    Seen,
    /// The text was seen; the SQLSTATE is that of similar errors.
    TextSeen,
    /// Neither was seen.
    Assumed,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The condition.
    pub login_error: LoginError,
    /// The SQLSTATE of the error.
    pub sqlstate: &'static str,
    /// The message, with the placeholders `{role}`, `{database}`, `{host}` and `{group}`.
    pub text: &'static str,
    /// The hint, if there is one.
    pub hint: Option<&'static str>,
    /// The evidence for the entry.
    pub evidence: Evidence,
}

pub(super) const INVALID_AUTHORIZATION: &str = "28000";
pub(super) const INVALID_PASSWORD: &str = "28P01";

/// All login errors, in the order of [`LoginError`].
#[rustfmt::skip]
pub const TABLE: [Entry; 16] = {
    use Evidence::{Assumed, Seen, TextSeen};
    use LoginError::*;
    [
        entry(NoEncryption, INVALID_AUTHORIZATION, Seen,
            "no pg_hba.conf entry for host \"{host}\", user \"{role}\", database \"{database}\", no encryption"),
        entry(RoleMissing, INVALID_AUTHORIZATION, Seen, "role \"{role}\" does not exist"),
        entry(PasswordFailed, INVALID_PASSWORD, Seen, "password authentication failed for user \"{role}\""),
        entry(TokenMalformed, INVALID_AUTHORIZATION, TextSeen,
            "The access token has invalid format. Please ensure the token is passed exactly as returned by the authentication endpoint and retry."),
        entry(TokenForged, INVALID_AUTHORIZATION, TextSeen,
            "An error occurred while validating the access token. Please acquire a new token and retry."),
        entry(TokenOfOtherTenant, INVALID_AUTHORIZATION, Assumed,
            "The access token does not have a valid tenant claim. Please acquire a new token for the tenant of this server."),
        entry(TokenAudience, INVALID_AUTHORIZATION, TextSeen,
            "The access token does not have a valid audience claim. Please acquire a new token for the resource \"https://ossrdbms-aad.database.windows.net\"."),
        entry(TokenNotYetValid, INVALID_AUTHORIZATION, Assumed, "The access token is not yet valid. Acquire a new token and try again."),
        entry(TokenExpired, INVALID_AUTHORIZATION, TextSeen, "The access token has expired. Acquire a new token and try again."),
        entry(TokenWithoutOid, INVALID_AUTHORIZATION, TextSeen, "The access token does not have a valid oid claim."),
        entry(AppTokenForUserRole, INVALID_AUTHORIZATION, Seen,
            "Microsoft Entra user token for role \"{role}\" is neither an AAD_AUTH_TOKENTYPE_APP_USER or an AAD_AUTH_TOKENTYPE_APP_OBO token."),
        entry(UserTokenForServiceRole, INVALID_AUTHORIZATION, Seen,
            "Service principals cannot generate AAD_AUTH_TOKENTYPE_APP_USER tokens for role \"{role}\""),
        entry(OtherPrincipal, INVALID_PASSWORD, Assumed, "password authentication failed for user \"{role}\""),
        // This was seen on the retired Single Server.
        Entry {
            hint: Some("Did you specify the correct user name and access token?"),
            ..entry(NotInGroup, INVALID_AUTHORIZATION, TextSeen,
                "Azure AD access token not valid for role {role} (does not contain group ID {group})")
        },
        entry(TooManyConnections, "53300", Seen, "sorry, too many clients already"),
        entry(StartingUp, "57P03", Seen, "the database system is starting up"),
    ]
};

const fn entry(login_error: LoginError, sqlstate: &'static str, evidence: Evidence, text: &'static str) -> Entry {
    Entry { login_error, sqlstate, text, hint: None, evidence }
}

impl LoginError {
    /// Returns the entry of the table.
    pub fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }
}

impl From<jwt::TokenError> for LoginError {
    fn from(error: jwt::TokenError) -> Self {
        match error {
            jwt::TokenError::Malformed => Self::TokenMalformed,
            jwt::TokenError::BadSignature => Self::TokenForged,
            jwt::TokenError::WrongAudience => Self::TokenAudience,
            jwt::TokenError::Expired => Self::TokenExpired,
            jwt::TokenError::NotYetValid => Self::TokenNotYetValid,
            jwt::TokenError::WrongTenant => Self::TokenOfOtherTenant,
            jwt::TokenError::NoOid => Self::TokenWithoutOid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_rows_are_in_the_order_of_their_errors() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.login_error as usize, index, "{:?}", row.login_error);
            assert_eq!(row.login_error.entry(), row);
            assert_eq!(row.sqlstate.len(), 5);
        }
        assert_eq!(LoginError::StartingUp as usize, TABLE.len() - 1, "an error has no row");
    }
}
