//! Managed identity endpoints. Each source has its own file.

pub(super) mod app_service;
pub(super) mod azure_arc;
pub(super) mod azure_ml;
pub(super) mod cloud_shell;
pub(super) mod imds;
pub(super) mod service_fabric;

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{Call, Caller, EndpointError, aadsts};
use crate::config::Identities;
use crate::fault::{ExpiresOn, Numbers, Shape};
use crate::principal::Principal;
use crate::state::{IssuedToken, State};

/// Returns the identity in one of the query parameters in `selectors`, otherwise the default.
fn select(state: &State, call: &Call, identities: &Identities, selectors: &[&str]) -> Option<Arc<Principal>> {
    let assigned = |principal: &Arc<Principal>| {
        let listed = |names: &Vec<String>| names.contains(&principal.name);
        principal.kind.is_managed_identity() && identities.assigned.as_ref().is_none_or(listed)
    };
    let Some((selector, wanted)) = selectors.iter().find_map(|name| Some((*name, call.query(name)?))) else {
        return identities.default.as_deref().and_then(|name| state.principal(name)).filter(assigned);
    };
    let is_wanted = |principal: &Principal| match selector {
        "client_id" | "clientid" => principal.appid.eq_ignore_ascii_case(wanted),
        "object_id" | "principal_id" => principal.oid.eq_ignore_ascii_case(wanted),
        _ => principal.xms_mirid.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(wanted)),
    };
    state.principals().into_iter().filter(assigned).find(|principal| is_wanted(principal))
}

fn caller(state: &State, call: &Call, identities: &Identities, selectors: &[&str], secret: Option<&str>) -> Caller {
    Caller {
        principal: select(state, call, identities, selectors),
        resource: call.query("resource").map(str::to_owned),
        secret: secret.map(str::to_owned),
    }
}

/// Returns the text of an error. Entra's own errors are passed on with their trailer.
fn error_text(endpoint_error: &EndpointError, usual_text: &str, call: &Call, shape: &Shape) -> String {
    let text = endpoint_error.description.as_deref().unwrap_or(usual_text);
    match endpoint_error.aadsts {
        Some(code) => aadsts::describe(Some(code), text, call, shape).text,
        None => text.to_owned(),
    }
}

/// Returns the fields that all sources send. Each source removes the fields that it does not send.
fn success_body(principal: &Principal, resource: &str, issued: &IssuedToken, shape: &Shape) -> Value {
    let number = |value: i64| match shape.numbers {
        Some(Numbers::Number) => json!(value),
        _ => json!(value.to_string()),
    };
    let mut body = json!({
        "access_token": issued.access_token,
        "client_id": principal.appid,
        "expires_in": number(issued.expires_in),
        "ext_expires_in": number(issued.expires_in),
        "not_before": number(issued.not_before),
        "resource": resource,
        "token_type": "Bearer",
    });
    if let Some(expires_on) = expires_on(issued.expires_on, shape.expires_on.unwrap_or(ExpiresOn::String)) {
        body["expires_on"] = expires_on;
    }
    if let Some(refresh_in) = shape.refresh_in_s.filter(|_| shape.omit_refresh_in != Some(true)) {
        body["refresh_in"] = number(refresh_in);
    }
    body
}

fn expires_on(seconds: i64, how: ExpiresOn) -> Option<Value> {
    let date = |format: &[BorrowedFormatItem<'_>]| {
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        Some(json!(time.format(format).ok()?))
    };
    match how {
        ExpiresOn::String => Some(json!(seconds.to_string())),
        ExpiresOn::Number => Some(json!(seconds)),
        ExpiresOn::Date => date(format_description!(
            "[month padding:none]/[day padding:none]/[year] [hour repr:12 padding:none]:[minute]:[second] [period] +00:00"
        )),
        ExpiresOn::DateLinux => date(format_description!("[month]/[day]/[year] [hour]:[minute]:[second] +00:00")),
        ExpiresOn::Iso => date(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")),
        ExpiresOn::Missing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_has_the_format_of_each_host() {
        let morning = 1_894_771_452;
        let table = [
            (ExpiresOn::String, Some(json!("1894771452"))),
            (ExpiresOn::Number, Some(json!(1_894_771_452))),
            (ExpiresOn::Date, Some(json!("1/16/2030 5:24:12 AM +00:00"))),
            (ExpiresOn::DateLinux, Some(json!("01/16/2030 05:24:12 +00:00"))),
            (ExpiresOn::Iso, Some(json!("2030-01-16T05:24:12Z"))),
            (ExpiresOn::Missing, None),
        ];
        for (how, written) in table {
            assert_eq!(expires_on(morning, how), written);
        }
    }
}
