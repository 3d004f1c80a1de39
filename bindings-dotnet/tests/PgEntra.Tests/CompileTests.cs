using Azure.Identity;
using Npgsql;
using PgEntra;

namespace Consumer;

/// <summary>Code that uses Azure.Identity and PgEntra side by side. The test is that it compiles.</summary>
public sealed class CompileTests(PgEntra.Tests.Emulator emulator)
{
    [Fact]
    public async Task UseEntraAuthentication_beside_Azure_Identity_is_not_ambiguous()
    {
        await emulator.ResetAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=app-mi");
        builder.UseEntraAuthentication();
        builder.UseEntraAuthentication(null);
        builder.UseEntraAuthentication(credential: null);
        builder.UseEntraAuthentication(null, new EntraOptions());
        builder.UseEntraAuthentication(cancellationToken: default);
        builder.UseEntraAuthentication(new DefaultAzureCredential());
        builder.UseEntraAuthentication(new DefaultAzureCredential(), CancellationToken.None);
        builder.UseEntraAuthentication(new DefaultAzureCredential(), new EntraOptions { FallbackUsername = "x" });
        builder.UseEntraAuthentication(new PgEntra.Identity.DefaultAzureCredential());
        builder.UseEntraAuthentication(new PgEntra.AzureCore.DefaultAzureCredential());
        Azure.Core.TokenCredential? none = null;
        builder.UseEntraAuthentication(none);
        await builder.UseEntraAuthenticationAsync();
        await builder.UseEntraAuthenticationAsync(null);
        await builder.UseEntraAuthenticationAsync(new DefaultAzureCredential(), CancellationToken.None);
        var slim = new NpgsqlSlimDataSourceBuilder(emulator.ConnectionString + ";Username=app-mi");
        slim.UseEntraAuthentication();
        slim.UseEntraAuthentication(null);
        slim.UseEntraAuthentication(new DefaultAzureCredential());
        await slim.UseEntraAuthenticationAsync(null);
    }

    /// <summary>To move from Azure.Identity, only the namespace is changed.</summary>
    [Fact]
    public void CredentialOptions_compile_as_those_of_Azure_Identity()
    {
        Func<Azure.Core.TokenCredential>[] theirs =
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
        Assert.All(theirs, make => Assert.NotNull(make()));
        Assert.All(Migration.Credentials, make => Assert.IsAssignableFrom<Azure.Core.TokenCredential>(make()));
        Assert.Equal(
            """{"type":"managed_identity","client_id":"c","retry":{"max_retries":1}}""",
            new PgEntra.Identity.ManagedIdentityCredential(
                new PgEntra.Identity.ManagedIdentityCredentialOptions(PgEntra.Identity.ManagedIdentityId.FromUserAssignedClientId("c")) { Retry = { MaxRetries = 1 } })
                .Source.Json[14..^1]);
    }
}
