using PgEntra.AzureCore;
using AzureAuthorityHosts = Azure.Identity.AzureAuthorityHosts;
using TokenCachePersistenceOptions = Azure.Identity.TokenCachePersistenceOptions;

namespace Consumer;

/// <summary>The same credentials as in <see cref="CompileTests"/>, with another <c>using</c>.</summary>
internal static class Migration
{
    public static readonly Func<Azure.Core.TokenCredential>[] Credentials =
    [
        () => new DefaultAzureCredential(new DefaultAzureCredentialOptions
        {
            ManagedIdentityResourceId = new Azure.Core.ResourceIdentifier("/subscriptions/s"),
            InteractiveBrowserCredentialClientId = "c",
            ExcludeBrokerCredential = true,
            AdditionallyAllowedTenants = { "*" },
            Diagnostics = { IsLoggingContentEnabled = true, LoggedHeaderNames = { "x" }, IsAccountIdentifierLoggingEnabled = true },
            Retry = { MaxRetries = 1, Mode = Azure.Core.RetryMode.Fixed, Delay = TimeSpan.FromSeconds(1) },
            RetryPolicy = null,
        }),
        () => new EnvironmentCredential(new EnvironmentCredentialOptions { DisableInstanceDiscovery = true }),
        () => new ManagedIdentityCredential(new ManagedIdentityCredentialOptions(ManagedIdentityId.FromUserAssignedClientId("c")) { Retry = { MaxRetries = 1 } }),
        () => new ClientSecretCredential("t", "c", "s", new ClientSecretCredentialOptions { TokenCachePersistenceOptions = new TokenCachePersistenceOptions() }),
        () => new ClientAssertionCredential("t", "c", () => "a", new ClientAssertionCredentialOptions { AuthorityHost = AzureAuthorityHosts.AzureChina }),
    ];
}
