//! The `AADSTS` error numbers with their meaning and advice, in one table that is also printed in `docs/errors.md`.

use crate::error::{Error, ErrorKind};

/// The kind of refusal that a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Repeating the request does not change the result. The refusal is remembered longer and not retried.
    Definite,
    /// The request was refused, but the next one (with another assertion) can succeed.
    Refused,
    /// The user has to act.
    Interaction,
    /// The service has a temporary fault.
    Transient,
}

impl Verdict {
    /// Returns the kind of the error.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Verdict::Definite | Verdict::Refused => ErrorKind::AuthenticationFailed,
            Verdict::Interaction => ErrorKind::InteractionRequired,
            Verdict::Transient => ErrorKind::ServiceUnavailable,
        }
    }
}

/// One number with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Aadsts {
    /// The number after `AADSTS`.
    pub number: u32,
    /// The kind of refusal.
    pub verdict: Verdict,
    /// The meaning, in a few words.
    pub meaning: &'static str,
    /// The advice, in one sentence.
    pub advice: &'static str,
}

macro_rules! aadsts {
    ($($number:literal $verdict:ident $meaning:literal, $advice:literal;)+) => {
        &[$(Aadsts { number: $number, verdict: Verdict::$verdict, meaning: $meaning, advice: $advice },)+]
    };
}

/// The table, in the order of the numbers.
static TABLE: &[Aadsts] = aadsts! {
    16000 Interaction "several accounts fit", "Sign in again and choose one account.";
    50001 Definite "the resource does not exist in the tenant", "Check the scope, and check that scope and authority belong to the same cloud.";
    50012 Definite "the client secret or the assertion's signature is wrong", "Pass the secret's value, not its id, or the certificate that is registered for this client id.";
    50013 Refused "the assertion is not accepted", "Pass a token issued for this application itself, and not yet expired.";
    50020 Definite "the user is not of this tenant", "Invite the user as a guest, or name the user's own tenant.";
    50027 Refused "the assertion is not a readable token", "Pass the whole token as its issuer wrote it.";
    50034 Definite "the user does not exist in the tenant", "Check the user name and the tenant.";
    50053 Refused "the account is locked", "Wait, or have the account unlocked. Stop the program that sends the wrong password.";
    50055 Interaction "the password has expired", "Sign in with a browser and set a new password.";
    50057 Definite "the account is disabled", "Have the account enabled, or use another one.";
    50058 Interaction "no user is signed in", "Sign in again.";
    50059 Definite "the request contains no tenant", "Pass the tenant's id or domain, not `common` or `organizations`.";
    50076 Interaction "multi-factor sign-in is required", "Sign in again with the second factor. A password alone is not sufficient.";
    50078 Interaction "the second factor has expired", "Sign in again with the second factor.";
    50079 Interaction "the user must register a second factor", "Sign in with a browser and register it.";
    50105 Definite "the user is not assigned to the application", "Assign the user or group to the enterprise application.";
    50126 Definite "wrong user name or password", "Check both. Repeated attempts lock the account.";
    50128 Definite "the domain is unknown", "Pass the tenant's id or domain, and check its spelling.";
    50131 Interaction "conditional access refused the sign-in", "Sign in again from a device and location that the policy permits.";
    50133 Interaction "the session ended: the password was changed", "Sign in again.";
    50158 Interaction "an external check has not been passed", "Sign in again with a browser.";
    50166 Transient "Entra could not fetch the issuer's keys", "The request is repeated. If the failure persists, make the issuer's /.well-known/openid-configuration and its keys reachable from Entra, not only from your network.";
    50173 Interaction "the sign-in was revoked", "Sign in again.";
    50194 Definite "the application is not multi-tenant", "Pass the id or domain of the application's own tenant, not `common`.";
    50196 Transient "the same request was sent too often", "Share one provider among pools.";
    53003 Interaction "conditional access blocks the sign-in", "Ask the tenant's administrator which policy blocks this identity, location or device.";
    65001 Interaction "consent is missing", "Have the user or an administrator consent to the application's permission.";
    65004 Interaction "consent was declined", "Have the user or an administrator consent to the application's permission.";
    70002 Definite "the application's credentials are not accepted", "Check client id and the secret, certificate or federated credential that belongs to it.";
    70003 Definite "the application is not permitted to use this grant", "Update pgentra. If it is the newest version, report the error.";
    70008 Interaction "the sign-in has expired", "Sign in again.";
    70011 Definite "the scope is malformed", "Request one scope that ends with `/.default`.";
    70021 Definite "no federated credential matches the token", "Compare issuer, subject and audience of the application's federated credential with the token's; both are case-sensitive.";
    70043 Interaction "the sign-in has expired by policy", "Sign in again.";
    90002 Definite "the tenant does not exist", "Check the tenant id, and check that the authority belongs to the tenant's cloud.";
    90013 Transient "the service failed", "No action is required. The request is repeated after the back-off.";
    90019 Definite "the request contains no tenant", "Pass the tenant's id or domain, not `common` or `organizations`.";
    90033 Transient "the service is overloaded", "No action is required. The request is repeated after the back-off.";
    90061 Transient "Entra could not fetch the issuer's keys", "The request is repeated. If the failure persists, make the issuer's /.well-known/openid-configuration and its keys reachable from Entra, not only from your network.";
    100034 Definite "a regional token service accepts no claims", "Unset AZURE_REGIONAL_AUTHORITY_NAME, or request the token without claims.";
    500011 Definite "the resource does not exist in the tenant", "Check the scope, and check that scope and authority belong to the same cloud.";
    500133 Refused "the assertion has expired or is not valid yet", "Pass a token that has not expired, and check this machine's clock.";
    501661 Transient "Entra could not fetch the issuer's keys", "The request is repeated. If the failure persists, make the issuer's /.well-known/openid-configuration and its keys reachable from Entra, not only from your network.";
    530003 Interaction "the device must be managed", "Sign in from a device that the policy permits.";
    700016 Definite "the application does not exist in the tenant", "Check client id and tenant. A client id is not an object id.";
    700021 Definite "the assertion belongs to another application", "Use this client id as issuer and subject of the assertion.";
    700023 Definite "the assertion is for another endpoint", "Check that the authority host belongs to the tenant's cloud.";
    700024 Refused "the assertion has expired or is not valid yet", "Check this machine's clock, and check that the program that writes the assertion is running.";
    700025 Definite "the application is a public client", "Register it as a confidential client (`Allow public client flows` off), or use another client id: a public client has no secret or certificate.";
    700027 Definite "the certificate does not belong to the application", "Upload the certificate to the application, or use the uploaded certificate.";
    700030 Definite "the certificate's subject is not trusted", "Send the certificate chain, and register its subject and issuer with the application.";
    700082 Interaction "the refresh token has expired", "Sign in again.";
    700211 Definite "no federated credential has this issuer", "Compare the issuer of the application's federated credential with the token's `iss`.";
    700212 Definite "no federated credential has this audience", "Compare the audience of the application's federated credential with the token's `aud` (usually api://AzureADTokenExchange).";
    700213 Definite "no federated credential has this subject", "Compare the subject of the application's federated credential with the token's `sub`.";
    700222 Definite "tokens of Entra are not accepted as assertions", "Use a managed identity of the application's own cloud as the source of the assertion, with the audience api://AzureADTokenExchange.";
    700229 Definite "the assertion is the token of a user", "Use a managed identity as the source of the assertion. A user's token is not accepted.";
    700236 Definite "tokens of this issuer are not accepted as assertions", "Use a managed identity of the application's own tenant and cloud as the source of the assertion.";
    900023 Definite "the tenant is malformed", "Pass the tenant's id or domain.";
    900144 Definite "the request lacks a field", "Update pgentra. If it is the newest version, report the error.";
    900382 Definite "the application belongs to another cloud", "Set the authority host of the application's own cloud.";
    1000502 Definite "the certificate has expired or is not valid yet", "Renew the certificate, register it with the application and pass the new one. Check this machine's clock.";
    1002012 Definite "the scope is not valid for applications", "Request one scope that ends with `/.default`.";
    7000112 Definite "the application is disabled", "Have the application enabled.";
    7000114 Definite "the on-behalf-of flow is not possible with an application's token", "Pass a user's token. The token of an application has no user.";
    7000213 Definite "the certificate's chain is not valid", "Add the intermediate certificates to the file, in order after the application's own certificate.";
    7000215 Definite "the client secret is wrong", "Pass the secret's value, not its id, and check that it belongs to this client id.";
    7000218 Definite "the application must authenticate", "Pass a client secret or certificate.";
    7000222 Definite "the client secret has expired", "Create a new secret in the application's registration and pass it.";
    7000229 Definite "the application has no service principal in the tenant", "Create the enterprise application for this client id.";
    7002138 Definite "the federated credential differs in upper and lower case", "Write the subject of the federated credential exactly as the token's `sub`.";
    9002313 Definite "the request is malformed", "Check tenant, client id, secret and scope for spaces, quotes and line breaks.";
};

/// Returns every number that has its own advice, in ascending order.
pub fn aadsts_advice() -> &'static [Aadsts] {
    TABLE
}

/// Returns the entry of a number.
pub(in crate::credential) fn lookup(number: u32) -> Option<&'static Aadsts> {
    TABLE.binary_search_by_key(&number, |entry| entry.number).ok().map(|index| &TABLE[index])
}

/// The number that means only that credentials were refused. A second number next to it states the reason.
const WRAPPER: u32 = 70002;

/// Returns the first number after `AADSTS` in a text that is more specific than a general refusal.
pub(in crate::credential) fn find(text: &str) -> Option<u32> {
    quoted(text).map(|(number, _)| number)
}

/// Returns the same, with the text after it.
pub(in crate::credential) fn quoted(text: &str) -> Option<(u32, &str)> {
    let all = || {
        text.match_indices("AADSTS").filter_map(|(at, marker)| {
            let rest = &text[at + marker.len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            Some((rest[..digits].parse().ok()?, &rest[digits..]))
        })
    };
    all().find(|(number, _)| *number != WRAPPER).or_else(|| all().next())
}

/// Returns the most specific of the numbers that a service lists. General numbers come first.
pub(in crate::credential) fn most_special(listed: &[u32]) -> Option<u32> {
    let special = || listed.iter().rev().copied().filter(|number| *number != WRAPPER);
    special().find(|number| lookup(*number).is_some()).or_else(|| special().next()).or(listed.last().copied())
}

/// Returns whether a text describes a temporary fault, whatever its number.
pub(in crate::credential) fn is_passing(text: &str) -> bool {
    text.to_ascii_lowercase().contains("request to external oidc endpoint failed")
}

/// Returns the advice for a temporary fault.
pub(in crate::credential) fn passing_advice() -> &'static str {
    lookup(50166).map_or("", |entry| entry.advice)
}

impl Error {
    /// Adds the meaning and the advice of the number.
    pub(in crate::credential) fn with_known(self, known: Option<&Aadsts>) -> Error {
        match known {
            Some(entry) if entry.verdict == Verdict::Definite => self.with_advice(entry.advice).definite(),
            Some(entry) => self.with_advice(entry.advice),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_sorted_and_have_advice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].number < pair[1].number));
        for entry in TABLE {
            assert!(entry.advice.ends_with('.') && !entry.meaning.ends_with('.'), "{}", entry.number);
            assert_eq!(lookup(entry.number).map(|found| found.number), Some(entry.number));
        }
        assert!(lookup(1).is_none());
    }

    /// Tests the numbers that the protocol's documentation lists and the most common ones.
    #[test]
    fn error_codes_include_the_documented_numbers() {
        let numbers = [
            50013, 50027, 50034, 50076, 50079, 50126, 65001, 70011, 70021, 70043, 90002, 500011, 500133, 700016,
            700024, 700027, 700082, 700211, 700212, 700213, 900023, 1002012, 7000215, 7000222, 7002138,
        ];
        for number in numbers {
            assert!(lookup(number).is_some(), "{number}");
        }
    }

    /// Advice is shown in every language, so it must not use one language's spelling of an option.
    #[test]
    fn advice_uses_no_spelling_of_one_language() {
        let kinds = ErrorKind::ALL.iter().map(|kind| kind.advice());
        for advice in TABLE.iter().map(|entry| entry.advice).chain(kinds) {
            let mut words = advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '=');
            let is_spelled = |word: &str| {
                word.contains('_') && word.chars().any(|c| c.is_ascii_lowercase()) || word.ends_with("=True")
            };
            assert!(!words.any(is_spelled), "{advice}");
        }
    }

    #[test]
    fn find_returns_the_number_in_a_text() {
        assert_eq!(find("AADSTS7000215: Invalid client secret"), Some(7000215));
        assert_eq!(find("ERROR: AADSTSx, then AADSTS50076 and AADSTS1"), Some(50076));
        assert_eq!(find("AADSTS99999999999999999999"), None);
        assert_eq!(find("AADSTS"), None);
        assert_eq!(find("AADSTS70002: No. AADSTS50012: Wrong secret."), Some(50012));
        assert_eq!(find("AADSTS70002: No."), Some(70002));
    }

    #[test]
    fn most_special_prefers_the_specific_number() {
        let cases: [(&[u32], Option<u32>); 6] = [
            (&[], None),
            (&[70002], Some(70002)),
            (&[70002, 50012], Some(50012)),
            (&[50012, 70002], Some(50012)),
            (&[50012, 4], Some(50012)),
            (&[3, 4], Some(4)),
        ];
        for (listed, expected) in cases {
            assert_eq!(most_special(listed), expected, "{listed:?}");
        }
    }
}
