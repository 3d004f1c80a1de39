// Compiled twice: for PgEntra.Identity, and with Azure.Core's base class for PgEntra.AzureCore.
#if AZURE_CORE
namespace PgEntra.AzureCore;
#else
namespace PgEntra.Identity;
#endif

/// <summary>Options of all credentials, with the names of the Azure SDK.</summary>
public class TokenCredentialOptions
{
    /// <summary>The authority, such as <c>https://login.microsoftonline.us</c>. Default: <c>AZURE_AUTHORITY_HOST</c>, then the cloud's.</summary>
    public Uri? AuthorityHost { get; set; }

    /// <summary><c>public</c>, <c>us_government</c> or <c>china</c>. Default: according to the authority or the server's name.</summary>
    public string? Cloud { get; set; }

    /// <summary>Tenants other than the credential's own that a request may name; <c>*</c> allows all.</summary>
    public IList<string> AdditionallyAllowedTenants { get; } = [];

    /// <summary>Accepted without effect: there is no instance discovery.</summary>
    public bool? DisableInstanceDiscovery { get; set; }

    /// <summary>How requests are repeated within one fetch, if no usable token is cached.</summary>
    public CredentialRetryOptions Retry { get; } = new();

    /// <summary>The proxy, such as <c>http://proxy:3128</c>. Default: the environment variables such as <c>HTTPS_PROXY</c>.</summary>
    public Uri? Proxy { get; set; }

    /// <summary>A PEM file of certificate authorities, in addition to the system's.</summary>
    public string? CaFile { get; set; }

    /// <summary>Accepted without effect: secrets are not logged.</summary>
    public bool IsUnsafeSupportLoggingEnabled { get; set; }

    /// <summary>Accepted without effect: tokens are not stored on disk.</summary>
    public object? TokenCachePersistenceOptions { get; set; }

    /// <summary>Accepted without effect: see <see cref="PgEntraLogging"/>.</summary>
    public CredentialDiagnosticsOptions Diagnostics { get; } = new();

    /// <summary>Accepted without effect: set <see cref="Retry"/>.</summary>
    public object? RetryPolicy { get; set; }

    /// <summary>Causes an error: the engine has its own transport. Set <see cref="Proxy"/> and <see cref="CaFile"/>.</summary>
    public object? Transport { get; set; }
}

/// <summary>How requests are repeated within one fetch.</summary>
public sealed class CredentialRetryOptions
{
    /// <summary>The number of retries. Default: 3.</summary>
    public int? MaxRetries { get; set; }

    /// <summary>The first delay, which is doubled each time. Default: 0.8 s.</summary>
    public TimeSpan? Delay { get; set; }

    /// <summary>The longest delay. Default: 60 s.</summary>
    public TimeSpan? MaxDelay { get; set; }

    /// <summary>Accepted without effect: delays are doubled.</summary>
    public object? Mode { get; set; }

    /// <summary>Accepted without effect: a fetch takes at most 30 s.</summary>
    public TimeSpan? NetworkTimeout { get; set; }
}

/// <summary>Accepted without effect: contents, tokens and secrets are not logged, and there is no telemetry.</summary>
public sealed class CredentialDiagnosticsOptions
{
    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public bool? IsLoggingEnabled { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public bool? IsLoggingContentEnabled { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public bool? IsAccountIdentifierLoggingEnabled { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public bool? IsDistributedTracingEnabled { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public bool? IsTelemetryEnabled { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public int? LoggedContentSizeLimit { get; set; }

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public IList<string> LoggedHeaderNames { get; } = [];

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public IList<string> LoggedQueryParameters { get; } = [];

    /// <inheritdoc cref="CredentialDiagnosticsOptions"/>
    public string? ApplicationId { get; set; }

    internal bool IsSet => this is not
    {
        IsLoggingEnabled: null,
        IsLoggingContentEnabled: null,
        IsAccountIdentifierLoggingEnabled: null,
        IsDistributedTracingEnabled: null,
        IsTelemetryEnabled: null,
        LoggedContentSizeLimit: null,
        LoggedHeaderNames.Count: 0,
        LoggedQueryParameters.Count: 0,
        ApplicationId: null,
    };
}

/// <summary>Options of <see cref="DefaultAzureCredential"/>.</summary>
public sealed class DefaultAzureCredentialOptions : TokenCredentialOptions
{
    /// <summary>The tenant of the developer tools and of workload identity.</summary>
    public string? TenantId { get; set; }

    /// <summary>The user-assigned managed identity's client id. Default: <c>AZURE_CLIENT_ID</c>.</summary>
    public string? ManagedIdentityClientId { get; set; }

    /// <summary>The user-assigned managed identity's resource id.</summary>
    public string? ManagedIdentityResourceId { get; set; }

    /// <summary>The workload identity's client id. Default: <see cref="ManagedIdentityClientId"/>, then <c>AZURE_CLIENT_ID</c>.</summary>
    public string? WorkloadIdentityClientId { get; set; }

    /// <summary>The time limit of each developer tool. Default: 10 s.</summary>
    public TimeSpan? CredentialProcessTimeout { get; set; }

    /// <summary>Excludes a member, or with <see langword="false"/> includes one that <c>AZURE_TOKEN_CREDENTIALS</c> excludes.</summary>
    public bool? ExcludeEnvironmentCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeWorkloadIdentityCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeManagedIdentityCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeAzureCliCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeAzurePowerShellCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeAzureDeveloperCliCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeVisualStudioCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeVisualStudioCodeCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeInteractiveBrowserCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeBrokerCredential { get; set; }

    /// <inheritdoc cref="ExcludeEnvironmentCredential"/>
    public bool? ExcludeSharedTokenCacheCredential { get; set; }

    /// <summary>Accepted without effect: that member is never available.</summary>
    public string? InteractiveBrowserTenantId { get; set; }

    /// <inheritdoc cref="InteractiveBrowserTenantId"/>
    public string? InteractiveBrowserCredentialClientId { get; set; }

    /// <inheritdoc cref="InteractiveBrowserTenantId"/>
    public string? SharedTokenCacheTenantId { get; set; }

    /// <inheritdoc cref="InteractiveBrowserTenantId"/>
    public string? SharedTokenCacheUsername { get; set; }

    /// <inheritdoc cref="InteractiveBrowserTenantId"/>
    public string? VisualStudioTenantId { get; set; }

    /// <inheritdoc cref="InteractiveBrowserTenantId"/>
    public string? VisualStudioCodeTenantId { get; set; }
}

/// <summary>Options of <see cref="EnvironmentCredential"/>.</summary>
public sealed class EnvironmentCredentialOptions : TokenCredentialOptions;

/// <summary>Options of <see cref="ClientSecretCredential"/>.</summary>
public sealed class ClientSecretCredentialOptions : TokenCredentialOptions;

/// <summary>Options of <see cref="ClientAssertionCredential"/>.</summary>
public sealed class ClientAssertionCredentialOptions : TokenCredentialOptions;

/// <summary>Options of <see cref="WorkloadIdentityCredential"/>.</summary>
public sealed class WorkloadIdentityCredentialOptions : TokenCredentialOptions
{
    /// <summary>The tenant. Default: <c>AZURE_TENANT_ID</c>.</summary>
    public string? TenantId { get; set; }

    /// <summary>The client id. Default: <c>AZURE_CLIENT_ID</c>.</summary>
    public string? ClientId { get; set; }

    /// <summary>The file of the federated token. Default: <c>AZURE_FEDERATED_TOKEN_FILE</c>. A changed file is read again.</summary>
    public string? TokenFilePath { get; set; }

    /// <summary>Whether requests are sent to the cluster's token proxy, if <c>AZURE_KUBERNETES_TOKEN_PROXY</c> is set.</summary>
    public bool IsAzureProxyEnabled { get; set; }
}

/// <summary>A managed identity.</summary>
public sealed class ManagedIdentityId
{
    private ManagedIdentityId(string? key, string? value) => (Key, Value) = (key, value);

    /// <summary>The identity of the virtual machine or service.</summary>
    public static ManagedIdentityId SystemAssigned { get; } = new(null, null);

    internal string? Key { get; }

    internal string? Value { get; }

    /// <summary>A user-assigned identity by its client id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The identity.</returns>
    public static ManagedIdentityId FromUserAssignedClientId(string id) => new("client_id", id);

    /// <summary>A user-assigned identity by its object id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The identity.</returns>
    public static ManagedIdentityId FromUserAssignedObjectId(string id) => new("object_id", id);

    /// <summary>A user-assigned identity by its resource id.</summary>
    /// <param name="id">The id: <c>/subscriptions/…/userAssignedIdentities/…</c>.</param>
    /// <returns>The identity.</returns>
    public static ManagedIdentityId FromUserAssignedResourceId(string id) => new("resource_id", id);
}

/// <summary>Options of <see cref="ManagedIdentityCredential"/>.</summary>
/// <param name="managedIdentityId">The identity. Default: the system-assigned one.</param>
public sealed class ManagedIdentityCredentialOptions(ManagedIdentityId? managedIdentityId = null) : TokenCredentialOptions
{
    internal ManagedIdentityId Id { get; } = managedIdentityId ?? ManagedIdentityId.SystemAssigned;
}

/// <summary>Options of <see cref="ClientCertificateCredential"/>.</summary>
public sealed class ClientCertificateCredentialOptions : TokenCredentialOptions
{
    /// <summary>The password of an encrypted key or a PFX file.</summary>
    public string? CertificatePassword { get; set; }

    /// <summary>Whether the certificate chain is sent, for applications that are registered by subject name. Default: false.</summary>
    public bool SendCertificateChain { get; set; }
}

/// <summary>Options of <see cref="OnBehalfOfCredential"/>.</summary>
public sealed class OnBehalfOfCredentialOptions : TokenCredentialOptions
{
    /// <summary>Whether the certificate chain is sent, for applications that are registered by subject name. Default: false.</summary>
    public bool SendCertificateChain { get; set; }
}

/// <summary>Options of <see cref="AzurePipelinesCredential"/>.</summary>
public sealed class AzurePipelinesCredentialOptions : TokenCredentialOptions
{
    /// <summary>The organization's URL, for tasks without <c>SYSTEM_OIDCREQUESTURI</c>.</summary>
    public string? OrganizationUrl { get; set; }
}

/// <summary>Options of <see cref="AzureCliCredential"/>.</summary>
public sealed class AzureCliCredentialOptions : TokenCredentialOptions
{
    /// <summary>The tenant. Default: the one that the user is signed in to.</summary>
    public string? TenantId { get; set; }

    /// <summary>The name or id of a subscription. Default: the selected one.</summary>
    public string? Subscription { get; set; }

    /// <summary>The time limit of the process. Default: 10 s.</summary>
    public TimeSpan? ProcessTimeout { get; set; }
}

/// <summary>Options of <see cref="AzureDeveloperCliCredential"/>.</summary>
public sealed class AzureDeveloperCliCredentialOptions : TokenCredentialOptions
{
    /// <summary>The tenant. Default: the one that the user is signed in to.</summary>
    public string? TenantId { get; set; }

    /// <summary>The time limit of the process. Default: 10 s.</summary>
    public TimeSpan? ProcessTimeout { get; set; }
}

/// <summary>Options of <see cref="AzurePowerShellCredential"/>.</summary>
public sealed class AzurePowerShellCredentialOptions : TokenCredentialOptions
{
    /// <summary>The tenant. Default: the one that the user is signed in to.</summary>
    public string? TenantId { get; set; }

    /// <summary>The time limit of the process. Default: 10 s.</summary>
    public TimeSpan? ProcessTimeout { get; set; }
}
