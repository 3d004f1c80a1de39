//! The default chain: the credentials that a program is most likely to have, from its environment to developer tools.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use once_cell::race::OnceBox;

use crate::{
    config::{
        AzureCliArguments, CredentialOptions, DefaultArguments, DeveloperToolArguments, ManagedIdentityArguments,
        WorkloadIdentityArguments,
    },
    credential::{
        BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest, TokenSource,
        chain::chained::{Selection, Walk, combined_stamp, longest_bound},
        chain::unavailable::Unavailable,
        developer_tools::azure_cli::AzureCliCredential,
        developer_tools::azure_developer_cli::AzureDeveloperCliCredential,
        developer_tools::azure_powershell::AzurePowerShellCredential,
        entra::tenant::with_environment,
        environment,
        managed_identity::{self, ManagedIdentityCredential},
        sanitize,
        workload_identity::WorkloadIdentityCredential,
    },
    error::{Error, ErrorKind, Result},
};

const NAME: &str = "DefaultAzureCredential";

/// The variable that restricts the chain.
const SELECTION: &str = "AZURE_TOKEN_CREDENTIALS";

/// The variable with the client id of a user-assigned identity, used if the program does not pass one.
const CLIENT_ID: &str = "AZURE_CLIENT_ID";

/// The time limit of the IMDS probe. If no other credential is available, a longer limit allows for a busy machine.
const PROBE: Duration = Duration::from_secs(1);
const PATIENT_PROBE: Duration = Duration::from_secs(3);

/// When a member is part of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Credentials of deployed services, selected by `prod`.
    Service,
    /// Credentials of developers, selected by `dev`.
    Developer,
    /// Only if it is selected by name.
    Named,
}

/// Every name that `AZURE_TOKEN_CREDENTIALS`, `include` and `exclude` can contain, in the order of the chain. The last
/// ones need editors, brokers and browsers, which this library does not support.
const MEMBERS: [(&str, Part); 12] = [
    (environment::NAME, Part::Service),
    ("WorkloadIdentityCredential", Part::Service),
    (managed_identity::NAME, Part::Service),
    ("AzureCliCredential", Part::Developer),
    ("AzurePowerShellCredential", Part::Developer),
    ("AzureDeveloperCliCredential", Part::Developer),
    ("SharedTokenCacheCredential", Part::Named),
    ("VisualStudioCredential", Part::Named),
    ("VisualStudioCodeCredential", Part::Named),
    ("IntelliJCredential", Part::Named),
    ("BrokerCredential", Part::Named),
    ("InteractiveBrowserCredential", Part::Named),
];

pub(in crate::credential) struct DefaultCredential {
    members: Vec<Member>,
    /// The member that returned the first token. Later requests use only this credential, so that a temporary outage
    /// cannot switch the process to another identity.
    selection: OnceBox<Selection>,
}

enum Member {
    Plain(Arc<dyn Credential>),
    /// A developer tool. The chain also continues after its failure, because an expired sign-in of a developer must not
    /// end it.
    Tool(Arc<dyn Credential>),
    /// Used only if its endpoint responds to a probe.
    Probed(Arc<ManagedIdentityCredential>),
}

impl Member {
    fn credential(&self) -> &dyn Credential {
        match self {
            Member::Plain(credential) | Member::Tool(credential) => &**credential,
            Member::Probed(credential) => &**credential,
        }
    }

    async fn fetch(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        match self {
            Member::Plain(credential) => credential.fetch(request, context).await,
            Member::Tool(credential) => credential.fetch(request, context).await.map_err(|error| match error.kind() {
                ErrorKind::InvalidConfiguration => error,
                _ => error.with_kind(ErrorKind::CredentialUnavailable),
            }),
            Member::Probed(credential) => credential.fetch_probed(request, context, Some(PROBE)).await,
        }
    }
}

impl DefaultCredential {
    /// Creates the chain.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a variable that is required and not set, an unknown name, and a chain
    /// without members.
    pub(in crate::credential) fn new(
        arguments: &DefaultArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<DefaultCredential> {
        let get = |name: &str| context.inputs.variable(name);
        let missing: Vec<&str> =
            arguments.required_env_vars.iter().map(String::as_str).filter(|name| get(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidConfiguration,
                format!("variables are required and not set: {}", missing.join(", ")),
            )
            .with_advice("Set these variables, or remove them from the required ones."));
        }
        let names = select(get(SELECTION), arguments)?;
        let alone = names.len() == 1;
        let builder = Builder { arguments, options: with_environment(options, context.inputs), context };
        let members = names.into_iter().map(|name| builder.member(name, alone)).collect::<Result<_>>()?;
        Ok(DefaultCredential { members, selection: OnceBox::new() })
    }

    async fn request_token(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let mut walk = Walk::new(NAME, self.bound());
        let selected = self.selection.get().map(|selection| selection.index);
        let requested =
            || self.members.iter().enumerate().filter(|(index, _)| selected.is_none_or(|selected| *index == selected));
        for (index, member) in requested() {
            let name = member.credential().name();
            if let ControlFlow::Break(outcome) = walk.attempt(name, member.fetch(request, context)).await {
                return outcome.inspect(|_| self.select(walk.selection(index)));
            }
        }
        for (index, member) in requested() {
            let Member::Probed(identity) = member else { continue };
            walk.forget(managed_identity::NAME);
            let fetch = identity.fetch_probed(request, context, Some(PATIENT_PROBE));
            if let ControlFlow::Break(outcome) = walk.attempt(managed_identity::NAME, fetch).await {
                return outcome.inspect(|_| self.select(walk.selection(index)));
            }
        }
        let error = walk.nothing_available();
        Err(match selected {
            None => error,
            Some(_) => error.with_advice(
                "The chain selected this credential earlier and does not change its selection: restart \
                              the program to select again.",
            ),
        })
    }

    fn select(&self, selection: Selection) {
        let index = selection.index;
        if self.selection.set(Box::new(selection)).is_ok() {
            let member = self.members[index].credential().name();
            tracing::info!(target: "pgentra::credential", chain = NAME, member, "chosen");
        }
    }
}

impl Credential for DefaultCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn bound(&self) -> Duration {
        longest_bound(self.members.iter().map(Member::credential))
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request, context))
    }

    fn token_source(&self) -> TokenSource {
        Selection::token_source(self.selection.get(), NAME, |index| self.members[index].credential())
    }

    fn stamp(&self) -> Option<u64> {
        combined_stamp(self.members.iter().map(Member::credential))
    }
}

struct Builder<'a> {
    arguments: &'a DefaultArguments,
    options: CredentialOptions,
    context: &'a BuildContext<'a>,
}

impl Builder<'_> {
    /// Builds a member. A member with unusable settings is unavailable, so that the other members are still tried.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for an authority host that a member would use but cannot. All members share
    /// this setting, and continuing would log in as another identity than the variables specify.
    fn member(&self, name: &'static str, alone: bool) -> Result<Member> {
        self.build(name, alone).or_else(|error| match error.is_definite() {
            true => Err(error.for_credential(name).of_part("no token")),
            false => Ok(Member::Plain(Arc::new(Unavailable::new(name, error.headline(), error.advice())))),
        })
    }

    fn build(&self, name: &'static str, alone: bool) -> Result<Member> {
        let Builder { arguments, options, context } = self;
        let tenant_id = arguments.tenant_id.clone();
        let process_timeout = arguments.process_timeout;
        Ok(match name {
            environment::NAME => Member::Plain(environment::build(options, context)?),
            "WorkloadIdentityCredential" => {
                let named = &arguments.managed_identity_client_id;
                let client_id = arguments.workload_identity_client_id.as_ref().or(named.as_ref()).cloned();
                let arguments = WorkloadIdentityArguments { tenant_id, client_id, ..Default::default() };
                Member::Plain(Arc::new(WorkloadIdentityCredential::new(name, &arguments, options, context)?))
            }
            managed_identity::NAME => {
                let resource_id = arguments.managed_identity_resource_id.clone();
                let given = arguments.managed_identity_client_id.clone();
                let inherited = context.inputs.variable(CLIENT_ID).map(str::to_owned);
                let (source, client_id) = match (&resource_id, given) {
                    (Some(_), _) => (None, None),
                    (None, Some(given)) => (None, Some(given)),
                    (None, None) => (Some(CLIENT_ID), inherited),
                };
                let arguments = ManagedIdentityArguments { client_id, object_id: None, resource_id };
                let identity =
                    Arc::new(ManagedIdentityCredential::with_client_id_of(source, &arguments, options, context)?);
                // Skips the probe when this is the only selected credential.
                if identity.is_probed() && !alone { Member::Probed(identity) } else { Member::Plain(identity) }
            }
            "AzureCliCredential" => {
                let arguments = AzureCliArguments { tenant_id, subscription: None, process_timeout };
                Member::Tool(Arc::new(AzureCliCredential::new(&arguments, options, context)?))
            }
            "AzureDeveloperCliCredential" => {
                let arguments = DeveloperToolArguments { tenant_id, process_timeout };
                Member::Tool(Arc::new(AzureDeveloperCliCredential::new(&arguments, options, context)?))
            }
            "AzurePowerShellCredential" => {
                let arguments = DeveloperToolArguments { tenant_id, process_timeout };
                Member::Tool(Arc::new(AzurePowerShellCredential::new(&arguments, options, context)?))
            }
            _ => Member::Plain(Arc::new(Unavailable::new(
                name,
                "it depends on an editor, a broker or a browser, which pgentra does not support",
                "Pass the Azure SDK's credential object instead.",
            ))),
        })
    }
}

/// Returns the names of the members, in the order of the chain.
fn select(selection: Option<&str>, arguments: &DefaultArguments) -> Result<Vec<&'static str>> {
    let canonical =
        |name: &str| MEMBERS.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name.trim()));
    let listed = |option: &str, names: &[String]| -> Result<Vec<&'static str>> {
        names.iter().map(|name| canonical(name).ok_or_else(|| unknown(&format!("option `{option}`"), ""))).collect()
    };
    let include = listed("include", &arguments.include)?;
    let exclude = listed("exclude", &arguments.exclude)?;
    let selection = selection.map(str::trim).filter(|selection| !selection.is_empty());
    let selected: Vec<&'static str> = match selection.map(str::to_ascii_lowercase).as_deref() {
        None => MEMBERS.iter().filter(|(_, part)| *part != Part::Named).map(|(name, _)| *name).collect(),
        Some("prod") => MEMBERS.iter().filter(|(_, part)| *part == Part::Service).map(|(name, _)| *name).collect(),
        Some("dev") => MEMBERS.iter().filter(|(_, part)| *part == Part::Developer).map(|(name, _)| *name).collect(),
        Some(name) => {
            let shown = sanitize::identifier(selection.unwrap_or(name), &[]);
            let place = shown.map_or(SELECTION.to_owned(), |shown| format!("{SELECTION}={shown}"));
            vec![canonical(name).ok_or_else(|| unknown(&place, "dev, prod, "))?]
        }
    };
    let members: Vec<&'static str> = MEMBERS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| (selected.contains(name) || include.contains(name)) && !exclude.contains(name))
        .collect();
    if members.is_empty() {
        return Err(Error::new(ErrorKind::InvalidConfiguration, "every credential of the chain is excluded")
            .with_advice(format!("Exclude fewer credentials, or change {SELECTION}.")));
    }
    Ok(members)
}

fn unknown(place: &str, besides: &str) -> Error {
    // The names that need an editor or a broker are known, but not supported.
    let usable = MEMBERS.iter().filter(|(_, part)| *part != Part::Named);
    let names: Vec<&str> = usable.map(|(name, _)| *name).collect();
    Error::new(ErrorKind::InvalidConfiguration, format!("{place} does not name a credential of the default chain"))
        .with_advice(format!("Use one of {besides}{}.", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{
        config::{BuildInputs, Environment},
        transport::{Method, Response, Transport},
    };

    #[tokio::test(start_paused = true)]
    async fn default_credential_keeps_the_credential_that_succeeded() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&is_silent);
        let transport = Transport::canned(move |request| {
            let answer = match (request.method, silent.load(Ordering::Relaxed)) {
                (Method::Get, false) if request.headers.is_empty() => Ok(Response::new(400, &[], "{}")),
                (Method::Get, true) => Err(Error::new(ErrorKind::Network, "silence")),
                _ => Ok(Response::new(200, &[], r#"{"access_token":"t","expires_in":3600}"#)),
            };
            Box::pin(std::future::ready(answer))
        });
        let path = file.display().to_string();
        let variables = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", &path)];
        let environment: Environment = variables.map(|(name, value)| (name.to_owned(), value.into())).into();
        let inputs = BuildInputs::new(&environment);
        let context = BuildContext::new(&inputs).with_transport(transport);
        let chain = DefaultCredential::new(&DefaultArguments::default(), &CredentialOptions::default(), &context);
        let chain = chain.expect("builds");
        let fetch = || chain.fetch(&REQUEST, FetchContext::default());
        static REQUEST: std::sync::LazyLock<TokenRequest> =
            std::sync::LazyLock::new(|| TokenRequest::new("s/.default"));
        assert_eq!(chain.token_source().to_string(), NAME);
        fetch().await.expect("IMDS has a token");
        let source = chain.token_source();
        assert_eq!(source.to_string(), "DefaultAzureCredential > ManagedIdentityCredential (IMDS)");
        let earlier: Vec<_> = source.unavailable.iter().filter_map(Error::credential).collect();
        assert_eq!(earlier, ["EnvironmentCredential", "WorkloadIdentityCredential"]);

        // Another member could log in now, while the first one cannot for a while.
        std::fs::write(&file, "canary.assertion").expect("written");
        is_silent.store(true, Ordering::Relaxed);
        let error = fetch().await.expect_err("no other credential is used");
        assert_eq!(error.kind(), ErrorKind::CredentialUnavailable);
        assert_eq!(error.attempts().iter().filter_map(Error::credential).collect::<Vec<_>>(), [managed_identity::NAME]);
        assert!(error.to_string().contains("restart the program"), "{error}");
        is_silent.store(false, Ordering::Relaxed);
        fetch().await.expect("it is back");
    }

    fn selected(selection: Option<&str>, include: &[&str], exclude: &[&str]) -> Result<String> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let arguments =
            DefaultArguments { include: list(include), exclude: list(exclude), ..DefaultArguments::default() };
        select(selection, &arguments).map(|names| names.join(" ").replace("Credential", ""))
    }

    #[test]
    fn default_credential_members_follow_options_and_variables() {
        let all = "Environment WorkloadIdentity ManagedIdentity AzureCli AzurePowerShell AzureDeveloperCli";
        type Case<'a> = (Option<&'a str>, &'a [&'a str], &'a [&'a str], Option<&'a str>);
        let cases: &[Case] = &[
            (None, &[], &[], Some(all)),
            (Some("  "), &[], &[], Some(all)),
            (Some(" PROD "), &[], &[], Some("Environment WorkloadIdentity ManagedIdentity")),
            (Some("dev"), &[], &[], Some("AzureCli AzurePowerShell AzureDeveloperCli")),
            (Some("managedidentitycredential "), &[], &[], Some("ManagedIdentity")),
            (Some("VisualStudioCodeCredential"), &[], &[], Some("VisualStudioCode")),
            (Some("AzurePowerShellCredential"), &[], &[], Some("AzurePowerShell")),
            (
                Some("dev"),
                &["EnvironmentCredential"],
                &[],
                Some("Environment AzureCli AzurePowerShell AzureDeveloperCli"),
            ),
            (None, &["InteractiveBrowserCredential"], &[], Some(&format!("{all} InteractiveBrowser"))),
            (
                None,
                &[],
                &["azureclicredential"],
                Some("Environment WorkloadIdentity ManagedIdentity AzurePowerShell AzureDeveloperCli"),
            ),
            (Some("AzureCliCredential"), &[], &["AzureCliCredential"], None),
            (Some("AzureCliCredential"), &["AzureCliCredential"], &["AzureCliCredential"], None),
            (Some("development"), &[], &[], None),
            (Some("AzureCliCredential,EnvironmentCredential"), &[], &[], None),
            (None, &["cli"], &[], None),
            (None, &[], &["cli"], None),
        ];
        for (selection, include, exclude, expected) in cases {
            let result = selected(*selection, include, exclude);
            assert_eq!(result.as_deref().ok(), *expected, "{selection:?} +{include:?} -{exclude:?}");
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
            }
        }
    }
}
