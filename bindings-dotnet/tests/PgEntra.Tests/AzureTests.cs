using System.Net;
using System.Runtime.CompilerServices;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Azure.Core;
using Azure.Core.Pipeline;
using Azure.Identity;
using Azure.Security.KeyVault.Secrets;
using Npgsql;
using PgEntra.Interop;
using Ours = PgEntra.AzureCore;

namespace PgEntra.Tests;

/// <summary>Credentials of the Azure SDK in PgEntra, PgEntra's credentials in clients of the Azure SDK, and chains of both.</summary>
public sealed class AzureTests(Emulator emulator) : IAsyncLifetime
{
    private const string Scope = "https://ossrdbms-aad.database.windows.net/.default";

    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Fact]
    public async Task AzureIdentityCredential_is_called_once_for_many_pools()
    {
        var principal = await emulator.AddAsync("service_principal");
        var credential = Secret(principal);
        for (var pool = 0; pool < 3; pool++)
        {
            var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=" + principal.Name);
            builder.UseEntraAuthentication(credential);
            await using var source = builder.Build();
            await using (var connection = source.OpenConnection())
            {
                Assert.Equal(principal.Name, connection.UserName);
            }

            await using var other = await source.OpenConnectionAsync();
        }

        Assert.Single(await emulator.RequestsAsync(principal));
        Assert.Contains(TokenProvider.AllStats(), cell => cell.Credential == "ClientSecretCredential" && cell.ObjectId == principal.Oid);
    }

    [Fact]
    public async Task AzureIdentityCredential_failure_is_the_cause()
    {
        var principal = await emulator.AddAsync("service_principal");
        var credential = Secret(principal with { Secret = "canary-wrong" });
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=" + principal.Name);
        await builder.UseEntraAuthenticationAsync(credential);
        await using var source = builder.Build();
        var failure = await Assert.ThrowsAsync<NpgsqlException>(async () => await source.OpenConnectionAsync());
        var ours = Identity.PgEntraException.Find(failure)!;
        Assert.Equal("authentication_failed", ours.Code);
        Assert.False(failure.IsTransient);
        Assert.Equal(7000215, ours.Aadsts);
        Assert.Contains("Invalid client secret provided", ours.Message, StringComparison.Ordinal);
        Assert.IsType<AuthenticationFailedException>(ours.InnerException);
        Assert.DoesNotContain("canary", ours.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TokenCredential_authorises_a_client_of_the_Azure_SDK()
    {
        var principal = await emulator.AddAsync("service_principal");
        await using var vault = new Vault();
        var options = new SecretClientOptions
        {
            DisableChallengeResourceVerification = true,
            Transport = new HttpClientTransport(new Rerouted(vault.Address)),
            Retry = { MaxRetries = 0 },
        };
        var credential = new Ours.ClientSecretCredential(
            emulator.TenantId, principal.ClientId, principal.Secret, new() { AuthorityHost = emulator.AuthorityHost });
        var client = new SecretClient(new Uri("https://shop.vault.azure.net"), credential, options);
        KeyVaultSecret secret = await client.GetSecretAsync("password");
        Assert.Equal("from the vault", secret.Value);
        Assert.Equal("from the vault", client.GetSecret("password").Value.Value);
        var bearer = Assert.Single(vault.Seen.Distinct());
        Assert.StartsWith("Bearer eyJ", bearer, StringComparison.Ordinal);
        NativeError.Check(NativeRules.DescribeToken(bearer["Bearer ".Length..], out var description, out var error), error);
        using var token = JsonDocument.Parse(NativeString.Take(description)!);
        Assert.StartsWith("https://vault.azure.net", token.RootElement.GetProperty("audience").GetString(), StringComparison.Ordinal);
        Assert.Equal(principal.Oid, token.RootElement.GetProperty("principal").GetProperty("oid").GetString());
        Assert.Single(await emulator.RequestsAsync(principal, "vault.azure.net"));
    }

    [Fact]
    public async Task AzureIdentityChain_continues_after_an_unavailable_credential()
    {
        var principal = await emulator.AddAsync("service_principal");
        var chain = new ChainedTokenCredential(new Ours.EnvironmentCredential(), Secret(principal));
        var token = await chain.GetTokenAsync(new([Scope]), default);
        Assert.NotEmpty(token.Token);
        Assert.Equal(token.Token, chain.GetToken(new([Scope]), default).Token);

        var unavailable = Assert.Throws<CredentialUnavailableException>(() => new Ours.EnvironmentCredential().GetToken(new([Scope]), default));
        Assert.IsType<Identity.CredentialUnavailableException>(unavailable.InnerException);
        var wrong = new Ours.ClientSecretCredential(
            emulator.TenantId, principal.ClientId, "canary-wrong", new() { AuthorityHost = emulator.AuthorityHost });
        var failed = await Assert.ThrowsAsync<AuthenticationFailedException>(async () => await wrong.GetTokenAsync(new([Scope]), default));
        Assert.IsType<Identity.AuthenticationFailedException>(failed.InnerException);
        Assert.DoesNotContain("canary", failed.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ChainedTokenCredential_continues_after_an_unavailable_Azure_Identity_credential()
    {
        var principal = await emulator.AddAsync();
        var chain = new Ours.ChainedTokenCredential(
            new EnvironmentCredential(), new Ours.ChainedTokenCredential(new Ours.EnvironmentCredential(), new Ours.ManagedIdentityCredential(principal.ClientId)));
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication(chain);
        Assert.Equal(principal.Name, builder.ConnectionStringBuilder.Username);
        var identity = new Identity.ChainedTokenCredential(
            new EnvironmentCredential().AsPgEntraCredential(), new Identity.ManagedIdentityCredential(principal.ClientId));
        using var provider = new TokenProvider(identity);
        Assert.Equal(principal.Name, (await provider.LoginAsync()).User);
        Assert.Equal(principal.Name, provider.Login().User);

        var unavailableChain = new Ours.ChainedTokenCredential(new EnvironmentCredential(), new Ours.EnvironmentCredential());
        var failure = Assert.ThrowsAny<Identity.PgEntraException>(() =>
            new NpgsqlDataSourceBuilder(emulator.ConnectionString).UseEntraAuthentication(unavailableChain));
        Assert.Equal("credential_unavailable", failure.Code);
        Assert.Equal(2, failure.Detail.GetProperty("attempts").GetArrayLength());
    }

    [Fact]
    public async Task TokenCredential_shares_tokens_with_the_other_package()
    {
        var principal = await emulator.AddAsync();
        using var provider = new TokenProvider(new Identity.ManagedIdentityCredential(principal.ClientId));
        var token = await new Ours.ManagedIdentityCredential(principal.ClientId).GetTokenAsync(new([Scope]), default);
        Assert.Equal(token.Token, provider.GetToken());
        Assert.Single(await emulator.RequestsAsync(principal));
    }

    [Fact]
    public async Task CustomCredential_receives_claims_tenant_and_cae()
    {
        var seen = new List<TokenRequestContext>();
        var credential = new Spy(context =>
        {
            seen.Add(context);
            return new("a." + seen.Count, DateTimeOffset.UtcNow.AddHours(1), DateTimeOffset.UtcNow.AddMinutes(30));
        });
        var chain = new Ours.ChainedTokenCredential(credential);
        Assert.InRange(
            (await chain.GetTokenAsync(new(["api://another"]), default)).RefreshOn!.Value, DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddMinutes(30));
        seen.Clear();
        var first = await chain.GetTokenAsync(new([Scope]), default);
        var second = await chain.GetTokenAsync(new([Scope], claims: "{}", tenantId: "t", isCaeEnabled: true), default);
        Assert.NotEqual(first.Token, second.Token);
        Assert.Equal(("{}", "t", true), (seen[1].Claims, seen[1].TenantId, seen[1].IsCaeEnabled));
    }

    [Fact]
    public void CustomCredential_that_is_unused_is_collected()
    {
        var reference = UseOnce();
        for (var round = 0; round < 20 && reference.IsAlive; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.False(reference.IsAlive);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference UseOnce()
        {
            var credential = new Spy(_ => new("t", DateTimeOffset.UtcNow.AddHours(1)));
            using var provider = new TokenProvider(credential.AsPgEntraCredential());
            Assert.Equal("t", provider.GetToken());
            return new(credential);
        }
    }

    private Azure.Identity.ClientSecretCredential Secret(Principal principal) => new(
        emulator.TenantId,
        principal.ClientId,
        principal.Secret,
        new()
        {
            AuthorityHost = emulator.AuthorityHost,
            DisableInstanceDiscovery = true,
            Transport = new HttpClientTransport(new HttpClientHandler
            {
                CheckCertificateRevocationList = true,
                ServerCertificateCustomValidationCallback = (_, certificate, chain, _) => IsOfTheEmulator(certificate!, chain!),
            }),
            Retry = { MaxRetries = 0 },
        });

    private bool IsOfTheEmulator(X509Certificate2 certificate, X509Chain chain)
    {
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.CustomTrustStore.Add(X509CertificateLoader.LoadCertificateFromFile(emulator.CaFile));
        return chain.Build(certificate);
    }

    private sealed class Spy(Func<TokenRequestContext, AccessToken> answer) : TokenCredential
    {
        public override AccessToken GetToken(TokenRequestContext requestContext, CancellationToken cancellationToken) => answer(requestContext);

        public override ValueTask<AccessToken> GetTokenAsync(TokenRequestContext requestContext, CancellationToken cancellationToken) =>
            new(answer(requestContext));
    }

    /// <summary>Sends the requests for the vault to this machine, because the pipeline requires https.</summary>
    private sealed class Rerouted(Uri address) : DelegatingHandler(new HttpClientHandler { CheckCertificateRevocationList = true })
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.RequestUri = new(address, request.RequestUri!.PathAndQuery);
            return base.SendAsync(request, cancellationToken);
        }

        protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            request.RequestUri = new(address, request.RequestUri!.PathAndQuery);
            return base.Send(request, cancellationToken);
        }
    }

    /// <summary>A key vault with one secret, which first returns an authentication challenge.</summary>
    private sealed class Vault : IAsyncDisposable
    {
        private readonly HttpListener listener = new();
        private readonly Task serving;

        public Vault()
        {
            using (var probe = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0))
            {
                probe.Start();
                Address = new($"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}/");
            }

            listener.Prefixes.Add(Address.OriginalString);
            listener.Start();
            serving = ServeAsync();
        }

        public Uri Address { get; }

        public List<string> Seen { get; } = [];

        public async ValueTask DisposeAsync()
        {
            listener.Stop();
            await serving.WaitAsync(TimeSpan.FromSeconds(10));
        }

        private async Task ServeAsync()
        {
            while (true)
            {
                HttpListenerContext context;
                try
                {
                    context = await listener.GetContextAsync();
                }
                catch (Exception failure) when (failure is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }

                using var response = context.Response;
                if (context.Request.Headers["Authorization"] is not { } authorization)
                {
                    response.StatusCode = 401;
                    response.Headers["WWW-Authenticate"] =
                        "Bearer authorization=\"https://login.microsoftonline.com/99999999-0000-0000-0000-000000000009\", resource=\"https://vault.azure.net\"";
                    continue;
                }

                lock (Seen)
                {
                    Seen.Add(authorization);
                }

                response.ContentType = "application/json";
                await response.OutputStream.WriteAsync("""{"value": "from the vault", "id": "https://shop.vault.azure.net/secrets/password/1"}"""u8.ToArray());
            }
        }
    }
}
