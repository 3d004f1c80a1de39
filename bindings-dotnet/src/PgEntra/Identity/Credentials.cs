// Compiled twice: for PgEntra.Identity, and with Azure.Core's base class for PgEntra.AzureCore.
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
#if AZURE_CORE
using Base = PgEntra.AzureCore.PgEntraTokenCredential;
using Member = Azure.Core.TokenCredential;

namespace PgEntra.AzureCore;
#else
using Base = PgEntra.Identity.PgEntraCredential;
using Member = PgEntra.Identity.PgEntraCredential;

namespace PgEntra.Identity;
#endif

/// <summary>
/// Uses the first available credential: environment, workload identity, managed identity, Azure CLI, Azure PowerShell, Azure
/// Developer CLI. <c>AZURE_TOKEN_CREDENTIALS</c> = <c>dev</c>, <c>prod</c> or the name of a credential restricts the selection.
/// </summary>
public sealed class DefaultAzureCredential : Base
{
    /// <summary>Creates the chain with all defaults.</summary>
    public DefaultAzureCredential()
        : this(new DefaultAzureCredentialOptions())
    {
    }

    /// <param name="includeInteractiveCredentials">Accepted without effect: the interactive credentials are never available.</param>
    public DefaultAzureCredential(bool includeInteractiveCredentials)
        : this(new DefaultAzureCredentialOptions { ExcludeInteractiveBrowserCredential = !includeInteractiveCredentials })
    {
    }

    /// <param name="options">The options. They are read once.</param>
    public DefaultAzureCredential(DefaultAzureCredentialOptions options)
        : base(SourceOf(options, null))
    {
    }

    /// <param name="configurationEnvironmentVariableName">A variable that must be set: <c>AZURE_TOKEN_CREDENTIALS</c>.</param>
    /// <param name="options">The options. They are read once.</param>
    public DefaultAzureCredential(string configurationEnvironmentVariableName, DefaultAzureCredentialOptions? options = null)
        : base(SourceOf(options ?? new(), configurationEnvironmentVariableName))
    {
    }

    private static CredentialSource SourceOf(DefaultAzureCredentialOptions options, string? requiredVariable)
    {
        ArgumentNullException.ThrowIfNull(options);
        KeyValuePair<string, bool?>[] members =
        [
            new("EnvironmentCredential", options.ExcludeEnvironmentCredential),
            new("WorkloadIdentityCredential", options.ExcludeWorkloadIdentityCredential),
            new("ManagedIdentityCredential", options.ExcludeManagedIdentityCredential),
            new("AzureCliCredential", options.ExcludeAzureCliCredential),
            new("AzurePowerShellCredential", options.ExcludeAzurePowerShellCredential),
            new("AzureDeveloperCliCredential", options.ExcludeAzureDeveloperCliCredential),
            new("VisualStudioCredential", options.ExcludeVisualStudioCredential),
            new("VisualStudioCodeCredential", options.ExcludeVisualStudioCodeCredential),
            new("InteractiveBrowserCredential", options.ExcludeInteractiveBrowserCredential),
            new("BrokerCredential", options.ExcludeBrokerCredential),
            new("SharedTokenCacheCredential", options.ExcludeSharedTokenCacheCredential),
        ];
        string[] Named(bool excluded) => [.. members.Where(member => member.Value == excluded).Select(member => member.Key)];
        var (exclude, include) = (Named(true), Named(false));
        return new CredentialDocument("default")
            .Option("tenant_id", options.TenantId)
            .Option("managed_identity_client_id", options.ManagedIdentityClientId)
            .Option("managed_identity_resource_id", options.ManagedIdentityResourceId)
            .Option("workload_identity_client_id", options.WorkloadIdentityClientId)
            .With("process_timeout", options.CredentialProcessTimeout)
            .With("required_env_vars", requiredVariable is null ? null : new[] { requiredVariable })
            .With("exclude", exclude.Length == 0 ? null : exclude)
            .With("include", include.Length == 0 ? null : include)
            .Build(
                nameof(DefaultAzureCredential),
                options,
                ("InteractiveBrowserTenantId", options.InteractiveBrowserTenantId),
                ("InteractiveBrowserCredentialClientId", options.InteractiveBrowserCredentialClientId),
                ("SharedTokenCacheTenantId", options.SharedTokenCacheTenantId),
                ("SharedTokenCacheUsername", options.SharedTokenCacheUsername),
                ("VisualStudioTenantId", options.VisualStudioTenantId),
                ("VisualStudioCodeTenantId", options.VisualStudioCodeTenantId));
    }
}

/// <summary>Uses the first available of several credentials.</summary>
public sealed class ChainedTokenCredential : Base
{
    /// <param name="sources">The credentials, in the order of their use.</param>
    public ChainedTokenCredential(params Member[] sources)
        : base(new CredentialDocument("chained")
            .With("credentials", CredentialSources.Of(sources).Select(source => source.Document))
            .Build(CredentialSources.Of(sources)))
    {
    }
}

/// <summary>Uses <c>AZURE_TENANT_ID</c>, <c>AZURE_CLIENT_ID</c> and <c>AZURE_CLIENT_SECRET</c> or <c>AZURE_CLIENT_CERTIFICATE_PATH</c>.</summary>
public sealed class EnvironmentCredential : Base
{
    /// <param name="options">The options. They are read once.</param>
    public EnvironmentCredential(TokenCredentialOptions? options = null)
        : base(new CredentialDocument("environment").Build(nameof(EnvironmentCredential), options ?? new()))
    {
    }
}

/// <summary>Uses the federated identity of a pod in Kubernetes.</summary>
public sealed class WorkloadIdentityCredential : Base
{
    /// <summary>Uses the variables that the cluster sets.</summary>
    public WorkloadIdentityCredential()
        : this(new WorkloadIdentityCredentialOptions())
    {
    }

    /// <param name="options">The options. They are read once.</param>
    public WorkloadIdentityCredential(WorkloadIdentityCredentialOptions options)
        : base(new CredentialDocument("workload_identity")
            .Option("tenant_id", options?.TenantId)
            .Option("client_id", options?.ClientId)
            .Option("token_file_path", options?.TokenFilePath)
            .With("enable_azure_proxy", options?.IsAzureProxyEnabled == true ? true : null)
            .Build(nameof(WorkloadIdentityCredential), options))
    {
    }
}

/// <summary>Uses the identity of the virtual machine, App Service, Function or Container App.</summary>
public sealed class ManagedIdentityCredential : Base
{
    /// <param name="clientId">The client id of a user-assigned identity. Default: the system-assigned identity.</param>
    /// <param name="options">The options. They are read once.</param>
    public ManagedIdentityCredential(string? clientId = null, TokenCredentialOptions? options = null)
        : this(
            string.IsNullOrEmpty(clientId) ? ManagedIdentityId.SystemAssigned : ManagedIdentityId.FromUserAssignedClientId(clientId),
            options)
    {
    }

    /// <param name="id">The identity.</param>
    /// <param name="options">The options. They are read once.</param>
    public ManagedIdentityCredential(ManagedIdentityId id, TokenCredentialOptions? options = null)
        : base(new CredentialDocument("managed_identity")
            .With(id?.Key ?? "client_id", id?.Value)
            .Build(nameof(ManagedIdentityCredential), options ?? new()))
    {
    }

    /// <param name="options">The identity and the options. They are read once.</param>
    public ManagedIdentityCredential(ManagedIdentityCredentialOptions options)
        : this((options ?? throw new ArgumentNullException(nameof(options))).Id, options)
    {
    }
}

/// <summary>Uses an application's secret.</summary>
public sealed class ClientSecretCredential : Base
{
    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientSecret">The application's secret.</param>
    /// <param name="options">The options. They are read once.</param>
    public ClientSecretCredential(
        string tenantId, string clientId, string clientSecret, TokenCredentialOptions? options = null)
        : base(new CredentialDocument("client_secret")
            .With("tenant_id", tenantId)
            .With("client_id", clientId)
            .With("client_secret", clientSecret)
            .Build(nameof(ClientSecretCredential), options ?? new()))
    {
    }
}

/// <summary>Uses an application's certificate.</summary>
public sealed class ClientCertificateCredential : Base
{
    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientCertificatePath">A PEM file with key and certificate, or a PFX file. A changed file is read again.</param>
    /// <param name="options">The options. They are read once.</param>
    public ClientCertificateCredential(
        string tenantId,
        string clientId,
        string clientCertificatePath,
        ClientCertificateCredentialOptions? options = null)
        : base(Document(tenantId, clientId, options)
            .With("certificate_path", clientCertificatePath)
            .With("certificate_password", options?.CertificatePassword)
            .Build(nameof(ClientCertificateCredential), options ?? new()))
    {
    }

    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientCertificate">The certificate with its private key, which must be exportable.</param>
    /// <param name="options">The options. They are read once.</param>
    public ClientCertificateCredential(
        string tenantId,
        string clientId,
        X509Certificate2 clientCertificate,
        ClientCertificateCredentialOptions? options = null)
        : base(Document(tenantId, clientId, options)
            .With("certificate", CredentialSources.Export(clientCertificate))
            .Build(nameof(ClientCertificateCredential), options ?? new()))
    {
    }

    private static CredentialDocument Document(
        string tenantId, string clientId, ClientCertificateCredentialOptions? options) =>
        new CredentialDocument("client_certificate")
            .With("tenant_id", tenantId)
            .With("client_id", clientId)
            .With("send_certificate_chain", options?.SendCertificateChain == true ? true : null);
}

/// <summary>Uses a client assertion of an application.</summary>
public sealed class ClientAssertionCredential : Base
{
    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="assertionCallback">Returns a JWT that a federated credential of the application accepts. It is called for each fetch.</param>
    /// <param name="options">The options. They are read once.</param>
    public ClientAssertionCredential(
        string tenantId,
        string clientId,
        Func<CancellationToken, Task<string>> assertionCallback,
        TokenCredentialOptions? options = null)
        : base(Document(tenantId, clientId, CredentialDocument.Asserted(assertionCallback), options))
    {
    }

    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="assertionCallback">Returns a JWT that a federated credential of the application accepts. It is called for each fetch.</param>
    /// <param name="options">The options. They are read once.</param>
    public ClientAssertionCredential(
        string tenantId, string clientId, Func<string> assertionCallback, TokenCredentialOptions? options = null)
        : base(Document(tenantId, clientId, CredentialDocument.Asserted(assertionCallback), options))
    {
    }

    private static CredentialSource Document(
        string tenantId, string clientId, CredentialDocument assertion, TokenCredentialOptions? options) =>
        new CredentialDocument("client_assertion")
            .With("tenant_id", tenantId)
            .With("client_id", clientId)
            .With("get_assertion", assertion)
            .Build(nameof(ClientAssertionCredential), options ?? new());
}

/// <summary>Acts on behalf of the user that called the application.</summary>
public sealed class OnBehalfOfCredential : Base
{
    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientSecret">The application's secret.</param>
    /// <param name="userAssertion">The access token that the user sent.</param>
    /// <param name="options">The options. They are read once.</param>
    public OnBehalfOfCredential(
        string tenantId,
        string clientId,
        string clientSecret,
        string userAssertion,
        OnBehalfOfCredentialOptions? options = null)
        : base(Document(tenantId, clientId, userAssertion)
            .With("client_secret", clientSecret)
            .Build(nameof(OnBehalfOfCredential), options ?? new()))
    {
    }

    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientCertificate">The application's certificate with its private key, which must be exportable.</param>
    /// <param name="userAssertion">The access token that the user sent.</param>
    /// <param name="options">The options. They are read once.</param>
    public OnBehalfOfCredential(
        string tenantId,
        string clientId,
        X509Certificate2 clientCertificate,
        string userAssertion,
        OnBehalfOfCredentialOptions? options = null)
        : base(Document(tenantId, clientId, userAssertion)
            .With("certificate", CredentialSources.Export(clientCertificate))
            .With("send_certificate_chain", options?.SendCertificateChain == true ? true : null)
            .Build(nameof(OnBehalfOfCredential), options ?? new()))
    {
    }

    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientAssertionCallback">Returns a client assertion of the application. It is called for each fetch.</param>
    /// <param name="userAssertion">The access token that the user sent.</param>
    /// <param name="options">The options. They are read once.</param>
    public OnBehalfOfCredential(
        string tenantId,
        string clientId,
        Func<CancellationToken, Task<string>> clientAssertionCallback,
        string userAssertion,
        OnBehalfOfCredentialOptions? options = null)
        : base(Document(tenantId, clientId, userAssertion)
            .With("get_assertion", CredentialDocument.Asserted(clientAssertionCallback))
            .Build(nameof(OnBehalfOfCredential), options ?? new()))
    {
    }

    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="clientAssertionCallback">Returns a client assertion of the application. It is called for each fetch.</param>
    /// <param name="userAssertion">The access token that the user sent.</param>
    /// <param name="options">The options. They are read once.</param>
    public OnBehalfOfCredential(
        string tenantId,
        string clientId,
        Func<string> clientAssertionCallback,
        string userAssertion,
        OnBehalfOfCredentialOptions? options = null)
        : base(Document(tenantId, clientId, userAssertion)
            .With("get_assertion", CredentialDocument.Asserted(clientAssertionCallback))
            .Build(nameof(OnBehalfOfCredential), options ?? new()))
    {
    }

    private static CredentialDocument Document(
        string tenantId, string clientId, string userAssertion) =>
        new CredentialDocument("on_behalf_of")
            .With("tenant_id", tenantId)
            .With("client_id", clientId)
            .With("user_assertion_token", userAssertion);
}

/// <summary>Uses the service connection of a task in Azure Pipelines.</summary>
public sealed class AzurePipelinesCredential : Base
{
    /// <param name="tenantId">The tenant's id or domain name.</param>
    /// <param name="clientId">The application's client id.</param>
    /// <param name="serviceConnectionId">The service connection's id.</param>
    /// <param name="systemAccessToken">The task's <c>System.AccessToken</c>.</param>
    /// <param name="options">The options. They are read once.</param>
    public AzurePipelinesCredential(
        string tenantId,
        string clientId,
        string serviceConnectionId,
        string systemAccessToken,
        AzurePipelinesCredentialOptions? options = null)
        : base(new CredentialDocument("azure_pipelines")
            .With("tenant_id", tenantId)
            .With("client_id", clientId)
            .With("service_connection_id", serviceConnectionId)
            .With("system_access_token", systemAccessToken)
            .Option("organization_url", options?.OrganizationUrl)
            .Build(nameof(AzurePipelinesCredential), options ?? new()))
    {
    }
}

/// <summary>Uses the account that is signed in to <c>az</c>.</summary>
public sealed class AzureCliCredential : Base
{
    /// <param name="options">The options. They are read once.</param>
    public AzureCliCredential(AzureCliCredentialOptions? options = null)
        : base(new CredentialDocument("azure_cli")
            .Option("tenant_id", options?.TenantId)
            .Option("subscription", options?.Subscription)
            .With("process_timeout", options?.ProcessTimeout)
            .Build(nameof(AzureCliCredential), options ?? new()))
    {
    }
}

/// <summary>Uses the account that is signed in to <c>azd</c>.</summary>
public sealed class AzureDeveloperCliCredential : Base
{
    /// <param name="options">The options. They are read once.</param>
    public AzureDeveloperCliCredential(AzureDeveloperCliCredentialOptions? options = null)
        : base(new CredentialDocument("azure_developer_cli")
            .Option("tenant_id", options?.TenantId)
            .With("process_timeout", options?.ProcessTimeout)
            .Build(nameof(AzureDeveloperCliCredential), options ?? new()))
    {
    }
}

/// <summary>Uses the account that is signed in to Azure PowerShell.</summary>
public sealed class AzurePowerShellCredential : Base
{
    /// <param name="options">The options. They are read once.</param>
    public AzurePowerShellCredential(AzurePowerShellCredentialOptions? options = null)
        : base(new CredentialDocument("azure_powershell")
            .Option("tenant_id", options?.TenantId)
            .With("process_timeout", options?.ProcessTimeout)
            .Build(nameof(AzurePowerShellCredential), options ?? new()))
    {
    }
}

/// <summary>Uses a given token.</summary>
public sealed class StaticTokenCredential : Base
{
    /// <param name="token">The access token.</param>
    /// <param name="expiresOn">The expiry. Default: the token's own, or else one hour from now.</param>
    public StaticTokenCredential(string token, DateTimeOffset? expiresOn = null)
        : base(new CredentialDocument("static_token")
            .With("token", token)
            .With("expires_on", expiresOn?.ToUnixTimeSeconds())
            .Build(nameof(StaticTokenCredential), new()))
    {
    }
}

/// <summary>Converts the options of these classes to the engine's document.</summary>
internal static class CredentialSources
{
    internal static CredentialSource Build(
        this CredentialDocument document,
        string name,
        TokenCredentialOptions? options,
        params (string Name, object? Value)[] ignoredArguments)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Transport is not null)
        {
            throw Interop.NativeError.Create(
                PgEntra.Identity.ErrorKind.InvalidConfiguration,
                "option `Transport`: a transport of the Azure SDK cannot be used",
                "Set `Proxy` or `CaFile`, or pass the Azure SDK's own credential.",
                name);
        }

        (string Name, object? Value)[] ignored =
        [
            .. ignoredArguments,
            (nameof(options.IsUnsafeSupportLoggingEnabled), options.IsUnsafeSupportLoggingEnabled ? true : null),
            (nameof(options.TokenCachePersistenceOptions), options.TokenCachePersistenceOptions),
            (nameof(options.Diagnostics), options.Diagnostics.IsSet ? true : null),
            (nameof(options.RetryPolicy), options.RetryPolicy),
            ("Retry.Mode", options.Retry.Mode),
            ("Retry.NetworkTimeout", options.Retry.NetworkTimeout),
        ];
        _ = document
            .With("authority_host", options.AuthorityHost?.OriginalString)
            .With("cloud", options.Cloud)
            .With("additionally_allowed_tenants", options.AdditionallyAllowedTenants.Count == 0 ? null : options.AdditionallyAllowedTenants.ToArray())
            .With("disable_instance_discovery", options.DisableInstanceDiscovery)
            .With("retry", Retry(options.Retry));
        var names = new List<string>();
        foreach (var (option, value) in ignored)
        {
            if (value is not null)
            {
                names.Add(option);
            }
        }

        if (names.Count > 0)
        {
            PgEntraLogging.Debug($"{name}: options without effect: {string.Join(", ", names)}");
        }

        return new(document, Variables(options.Proxy), options.CaFile, names);
    }

    /// <summary>Creates the source of a chain.</summary>
    internal static CredentialSource Build(this CredentialDocument document, IReadOnlyList<CredentialSource> members)
    {
        // A credential of the engine has one environment and one file of certificate authorities.
        var given = members.Where(member => member.CaFile is not null || member.Variables is not null).ToArray();
        if (given.DistinctBy(member => (member.CaFile, member.Variables?["HTTPS_PROXY"])).Count() > 1)
        {
            throw Interop.NativeError.Create(
                PgEntra.Identity.ErrorKind.InvalidConfiguration,
                "its credentials have different proxies or different files of certificate authorities",
                credential: nameof(ChainedTokenCredential));
        }

        return new(document, given.FirstOrDefault()?.Variables, given.FirstOrDefault()?.CaFile);
    }

    internal static IReadOnlyList<CredentialSource> Of(Member[] credentials)
    {
        ArgumentNullException.ThrowIfNull(credentials);
        return [.. credentials.Select(Of)];
    }

    internal static CredentialSource Of(Member credential)
    {
        ArgumentNullException.ThrowIfNull(credential);
#if AZURE_CORE
        return AzureCredential.SourceOf(credential);
#else
        return credential.Source;
#endif
    }

    /// <summary>Returns a certificate and its key as PEM. PEM is the same text each time, so equal credentials share tokens.</summary>
    internal static string Export(X509Certificate2 certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        using var key = (AsymmetricAlgorithm?)certificate.GetRSAPrivateKey() ?? certificate.GetECDsaPrivateKey();
        // The engine reports a missing key.
        return $"{certificate.ExportCertificatePem()}\n{key?.ExportPkcs8PrivateKeyPem()}\n";
    }

    private static CredentialDocument? Retry(CredentialRetryOptions retry)
    {
        if (retry is { MaxRetries: null, Delay: null, MaxDelay: null })
        {
            return null;
        }

        return new CredentialDocument(null)
            .With("max_retries", retry.MaxRetries)
            .With("delay", retry.Delay)
            .With("max_delay", retry.MaxDelay);
    }

    private static Dictionary<string, string>? Variables(Uri? proxy) => proxy?.OriginalString.TrimEnd('/') is not { } address
        ? null
        : new() { ["HTTPS_PROXY"] = address, ["https_proxy"] = address, ["HTTP_PROXY"] = address, ["http_proxy"] = address };
}
