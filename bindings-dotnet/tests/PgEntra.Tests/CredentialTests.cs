using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.Tests;

/// <summary>Every credential of <c>PgEntra.Identity</c>: a token, and a login with Npgsql as the expected role.</summary>
/// <remarks>
/// Each test that passes adds a line <c>works: CLASS in .NET</c> to the file that <c>PGENTRA_WORKS</c> names, which
/// <c>make test-dotnet</c> prints and tools/matrix.py gathers.
/// </remarks>
public sealed class CredentialTests(Emulator emulator) : IAsyncLifetime
{
    private const string Scope = "https://ossrdbms-aad.database.windows.net/.default";
    private const string Password = "canary-password";
    private const string ServiceConnection = "55555555-0000-0000-0000-000000000001";
    private const string Identities =
        "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/"
        + "Microsoft.ManagedIdentity/userAssignedIdentities/";

    private static readonly object Federated =
        new { issuer = "https://cluster.example", subject = "system:serviceaccount:shop:orders" };

    private static readonly object Pipeline =
        new { issuer = "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0", subject = "sc://contoso/shop/orders-api" };

    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    // Platforms

    [Fact]
    public async Task Default()
    {
        var identity = await emulator.AddAsync();
        await LogsInAsync(
            new DefaultAzureCredential(new DefaultAzureCredentialOptions { ManagedIdentityClientId = identity.ClientId }), identity.Name);
    }

    [Fact]
    public async Task Default_of_a_developer()
    {
        var user = await SignedInAsync();
        Environment.SetEnvironmentVariable("AZURE_TOKEN_CREDENTIALS", "dev");
        await LogsInAsync(new DefaultAzureCredential(), user.Name);
    }

    [Fact]
    public async Task Chained()
    {
        var identity = await emulator.AddAsync();
        await LogsInAsync(
            new ChainedTokenCredential(new EnvironmentCredential(), new ManagedIdentityCredential(identity.ClientId)), identity.Name);

        var theirs = new CallbackCredential(async (_, _) =>
        {
            var minted = await emulator.MintAsync(identity.Name, new { named = true });
            return new(minted["token"]!.GetValue<string>(), DateTimeOffset.FromUnixTimeSeconds(minted["expires_on"]!.GetValue<long>()));
        });
        await LogsInAsync(
            new ChainedTokenCredential(new EnvironmentCredential(), new WorkloadIdentityCredential(), theirs), identity.Name);
    }

    [Theory]
    [InlineData("secret")]
    [InlineData("certificate")]
    public async Task EnvironmentVariables(string proof)
    {
        var application = await ApplicationAsync();
        Environment.SetEnvironmentVariable("AZURE_TENANT_ID", emulator.TenantId);
        Environment.SetEnvironmentVariable("AZURE_CLIENT_ID", application.ClientId);
        Environment.SetEnvironmentVariable("AZURE_AUTHORITY_HOST", emulator.AuthorityHost.OriginalString);
        if (proof == "secret")
        {
            Environment.SetEnvironmentVariable("AZURE_CLIENT_SECRET", application.Secret);
        }
        else
        {
            Environment.SetEnvironmentVariable("AZURE_CLIENT_CERTIFICATE_PATH", Certificate("app.pem"));
        }

        await LogsInAsync(new EnvironmentCredential(), application.Name, named: true);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WorkloadIdentity(bool throughTokenProxy)
    {
        var application = await ApplicationAsync();
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, await AssertedAsync(application) + "\n");
            Environment.SetEnvironmentVariable("AZURE_TENANT_ID", emulator.TenantId);
            Environment.SetEnvironmentVariable("AZURE_CLIENT_ID", application.ClientId);
            Environment.SetEnvironmentVariable("AZURE_FEDERATED_TOKEN_FILE", file);
            Environment.SetEnvironmentVariable("AZURE_AUTHORITY_HOST", emulator.AuthorityHost.OriginalString);
            if (throughTokenProxy)
            {
                MoveTo("token_proxy");
            }

            await LogsInAsync(
                new WorkloadIdentityCredential(new WorkloadIdentityCredentialOptions { IsAzureProxyEnabled = throughTokenProxy }),
                application.Name,
                named: true);
            Assert.Equal(
                throughTokenProxy ? "token_proxy" : "token",
                (await emulator.RequestsAsync(application)).Single()["endpoint"]!.GetValue<string>());
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Theory]
    [InlineData("app_service")]
    [InlineData("imds")]
    [InlineData("azure_arc")]
    [InlineData("azure_ml")]
    public async Task ManagedIdentity(string place)
    {
        var identity = await emulator.AddAsync();
        if (place != "app_service")
        {
            Leave();
            MoveTo(place);
        }

        await LogsInAsync(new ManagedIdentityCredential(identity.ClientId), identity.Name);
        Assert.Contains(await emulator.RequestsAsync(identity), one => one["endpoint"]!.GetValue<string>() == place);
    }

    [Theory]
    [InlineData("service_fabric", "app-mi")]
    [InlineData("cloud_shell", "alice@contoso.example")]
    public async Task ManagedIdentity_without_a_choice(string place, string role)
    {
        Leave();
        MoveTo(place);
        await LogsInAsync(new ManagedIdentityCredential(), role);
    }

    [Fact]
    public async Task ManagedIdentity_by_its_other_names()
    {
        var (first, second) = (await emulator.AddAsync(), await emulator.AddAsync());
        await LogsInAsync(new ManagedIdentityCredential(ManagedIdentityId.FromUserAssignedObjectId(first.Oid)), first.Name);
        await LogsInAsync(
            new ManagedIdentityCredential(ManagedIdentityId.FromUserAssignedResourceId(Identities + second.Name)), second.Name);
    }

    // Developer tools

    [Fact]
    public async Task AzureCli()
    {
        var user = await SignedInAsync();
        await LogsInAsync(new AzureCliCredential(), user.Name);
    }

    [Fact]
    public async Task AzureDeveloperCli()
    {
        var user = await SignedInAsync();
        await LogsInAsync(new AzureDeveloperCliCredential(), user.Name);
    }

    [Fact]
    public async Task AzurePowerShell()
    {
        var user = await SignedInAsync();
        await LogsInAsync(new AzurePowerShellCredential(), user.Name);
    }

    // Applications

    [Fact]
    public async Task ClientSecret()
    {
        var application = await ApplicationAsync();
        await LogsInAsync(
            new ClientSecretCredential(emulator.TenantId, application.ClientId, application.Secret, Here<TokenCredentialOptions>()),
            application.Name,
            named: true);
    }

    [Theory]
    [InlineData("app.pem", null)]
    [InlineData("encrypted.pem", Password)]
    [InlineData("app.pfx", Password)]
    public async Task ClientCertificate_in_a_file(string file, string? password)
    {
        var application = await ApplicationAsync();
        var options = Here<ClientCertificateCredentialOptions>();
        options.CertificatePassword = password;
        await LogsInAsync(
            new ClientCertificateCredential(emulator.TenantId, application.ClientId, Certificate(file), options),
            application.Name,
            named: true);
    }

    [Theory]
    [InlineData("app.pem")]
    [InlineData("app.pfx")]
    public async Task ClientCertificate_as_an_object(string file)
    {
        var application = await ApplicationAsync();
        using var certificate = Load(file);
        ClientCertificateCredential New() =>
            new(emulator.TenantId, application.ClientId, certificate, Here<ClientCertificateCredentialOptions>());
        await LogsInAsync(New(), application.Name, named: true);
        // Another object of the same certificate shares its tokens.
        _ = await New().GetTokenAsync(new(Scope));
        Assert.Single(await emulator.RequestsAsync(application));
    }

    [Theory]
    [InlineData("no-key.pem", "key")]
    [InlineData("ec.pem", "RSA")]
    public async Task ClientCertificate_unsuitable_is_an_error(string file, string said)
    {
        using var certificate = file == "no-key.pem"
            ? X509CertificateLoader.LoadCertificateFromFile(Certificate(file))
            : Load(file);
        var failure = await Assert.ThrowsAnyAsync<PgEntraException>(async () => await new ClientCertificateCredential(
            emulator.TenantId, "c", certificate, Here<ClientCertificateCredentialOptions>()).GetTokenAsync(new(Scope)));
        Assert.Contains(said, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ClientCertificate_known_by_its_chain()
    {
        const string End = "-----END CERTIFICATE-----\n";
        // The root is the first certificate of the file.
        var text = await File.ReadAllTextAsync(Certificate("chain.pem"));
        var root = text[..(text.IndexOf(End, StringComparison.Ordinal) + End.Length)];
        var application = await emulator.AddAsync(
            "service_principal", settings => settings["trusted_subjects"] = List(new { subject = "leaf", issuer = root }));
        var options = Here<ClientCertificateCredentialOptions>();
        options.SendCertificateChain = true;
        await LogsInAsync(
            new ClientCertificateCredential(emulator.TenantId, application.ClientId, Certificate("chain.pem"), options),
            application.Name,
            named: true);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ClientAssertion(bool asynchronous)
    {
        var application = await ApplicationAsync();
        var assertion = await AssertedAsync(application);
        var options = Here<TokenCredentialOptions>();
        var credential = asynchronous
            ? new ClientAssertionCredential(emulator.TenantId, application.ClientId, _ => AssertedAsync(application), options)
            : new ClientAssertionCredential(emulator.TenantId, application.ClientId, () => assertion, options);
        await LogsInAsync(credential, application.Name, named: true);
    }

    [Fact]
    public async Task ClientAssertion_is_sent_unchanged()
    {
        var application = await ApplicationAsync();
        // Not a JWT, so its expiry is not known: the service rejects it, not the engine.
        var credential = new ClientAssertionCredential(
            emulator.TenantId, application.ClientId, () => "canary-assertion", Here<TokenCredentialOptions>());
        var failure = await Assert.ThrowsAsync<AuthenticationFailedException>(async () => await credential.GetTokenAsync(new(Scope)));
        Assert.Equal(50027, failure.Aadsts);
        Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
        var empty = new ClientAssertionCredential(emulator.TenantId, application.ClientId, () => "", Here<TokenCredentialOptions>());
        var refused = await Assert.ThrowsAnyAsync<PgEntraException>(async () => await empty.GetTokenAsync(new(Scope)));
        Assert.Equal(ErrorKind.CredentialValue, refused.Kind);
    }

    [Theory]
    [InlineData("secret")]
    [InlineData("app.pem")]
    [InlineData("app.pfx")]
    [InlineData("function")]
    [InlineData("asynchronous function")]
    public async Task OnBehalfOf(string proof)
    {
        var application = await ApplicationAsync(hasRole: false);
        var user = await emulator.AddAsync("user");
        var sent = await emulator.SentToAsync(application, user);
        var assertion = await AssertedAsync(application);
        var options = Here<OnBehalfOfCredentialOptions>();
        var (tenant, client) = (emulator.TenantId, application.ClientId);
        using var certificate = proof.StartsWith("app.", StringComparison.Ordinal) ? Load(proof) : null;
        await LogsInAsync(
            proof switch
            {
                "secret" => new OnBehalfOfCredential(tenant, client, application.Secret, sent, options),
                "function" => new OnBehalfOfCredential(tenant, client, () => assertion, sent, options),
                "asynchronous function" => new OnBehalfOfCredential(tenant, client, _ => AssertedAsync(application), sent, options),
                _ => new OnBehalfOfCredential(tenant, client, certificate!, sent, options),
            },
            user.Name);
    }

    /// <summary>A credential is created for each call, as in a service.</summary>
    [Theory]
    [InlineData("secret")]
    [InlineData("function")]
    [InlineData("asynchronous function")]
    public async Task OnBehalfOf_exchanges_once_for_each_user_however_many_calls(string proof)
    {
        var application = await ApplicationAsync(hasRole: false);
        var assertion = await AssertedAsync(application);
        var users = new List<Principal>();
        for (var user = 0; user < 10; user++)
        {
            users.Add(await emulator.AddAsync("user"));
        }

        var sent = await Task.WhenAll(users.Select(user => emulator.SentToAsync(application, user)));
        var options = Here<OnBehalfOfCredentialOptions>();
        var (tenant, client) = (emulator.TenantId, application.ClientId);
        // Each mention of a method makes another delegate.
        string Assertion() => assertion;
        Task<string> AssertionAsync(CancellationToken cancellationToken) => Task.FromResult(assertion);
        OnBehalfOfCredential Of(int user) => proof switch
        {
            "secret" => new(tenant, client, application.Secret, sent[user], options),
            "function" => new(tenant, client, Assertion, sent[user], options),
            _ => new(tenant, client, AssertionAsync, sent[user], options),
        };
        async Task<string> RoleAsync(int call)
        {
            using var provider = new TokenProvider(Of(call % users.Count));
            return call < users.Count ? provider.Login().User : (await provider.LoginAsync()).User;
        }

        var roles = await Task.WhenAll(Enumerable.Range(0, 40).Select(call => Task.Run(() => RoleAsync(call))));
        Assert.Equal(Enumerable.Range(0, 40).Select(call => users[call % users.Count].Name), roles);
        var exchanges = (await emulator.RequestsAsync()).Where(one => one["endpoint"]!.GetValue<string>() == "token");
        Assert.Equal(users.Count, exchanges.Count());
    }

    [Fact]
    public void AssertionCallback_of_equal_functions_is_one_credential()
    {
        var (one, other) = (new Asserter(), new Asserter());
        static CustomCredential Of(Func<string> function) => new OnBehalfOfCredential("t", "c", function, "canary").Source.Members[0];
        Assert.Same(Of(one.Assertion), Of(one.Assertion));
        Assert.NotSame(Of(one.Assertion), Of(other.Assertion));
        Assert.NotSame(Of(one.Assertion), Of(one.Another));
        Assert.Same(Of(Static), Of(Static));
        Assert.Same(Of(one.Assertion), new ClientAssertionCredential("t", "c", one.Assertion).Source.Members[0]);
        Assert.Throws<ArgumentNullException>(() => Of(null!));
        static string Static() => "s";
    }

    private sealed class Asserter
    {
        private readonly string assertion = Guid.NewGuid().ToString();

        public string Assertion() => assertion;

        public string Another() => assertion + "!";
    }

    [Fact]
    public async Task AzurePipelines()
    {
        var application = await emulator.AddAsync(
            "service_principal", settings => settings["federated_credentials"] = List(Pipeline));
        var task = emulator.EnvironmentOf("azure_pipelines");
        Environment.SetEnvironmentVariable("SYSTEM_OIDCREQUESTURI", task["SYSTEM_OIDCREQUESTURI"]);
        await LogsInAsync(
            new AzurePipelinesCredential(
                emulator.TenantId,
                application.ClientId,
                ServiceConnection,
                task["SYSTEM_ACCESSTOKEN"],
                Here<AzurePipelinesCredentialOptions>()),
            application.Name,
            named: true);
    }

    [Fact]
    public async Task StaticToken()
    {
        var identity = await emulator.AddAsync();
        var minted = await emulator.MintAsync(identity.Name, new { named = true });
        await LogsInAsync(new StaticTokenCredential(minted["token"]!.GetValue<string>()), identity.Name);
    }

    [Fact]
    public async Task CredentialTests_cover_every_class()
    {
        var file = Path.Combine(Emulator.Root, "bindings-dotnet", "tests", "PgEntra.Tests", nameof(CredentialTests) + ".cs");
        var text = await File.ReadAllTextAsync(file);
        var classes = typeof(PgEntraCredential).Assembly.GetExportedTypes().Where(type => type.IsSubclassOf(typeof(PgEntraCredential))).ToArray();
        Assert.NotEmpty(classes);
        Assert.DoesNotContain(classes, type => !text.Contains($"new {type.Name}(", StringComparison.Ordinal));
    }

    private static JsonArray List(object one) => new(JsonSerializer.SerializeToNode(one));

    private static string Certificate(string file) => Path.Combine(Emulator.Root, "tests", "vectors", "certificates", file);

    private static X509Certificate2 Load(string file) => file.EndsWith(".pem", StringComparison.Ordinal)
        ? X509Certificate2.CreateFromPemFile(Certificate(file))
        : X509CertificateLoader.LoadPkcs12FromFile(Certificate(file), Password, X509KeyStorageFlags.Exportable);

    /// <summary>Requests a token, then connects.</summary>
    /// <param name="credential">The credential.</param>
    /// <param name="role">The expected role.</param>
    /// <param name="named">Whether the connection string contains the role, because the token does not contain a name.</param>
    private async Task LogsInAsync(PgEntraCredential credential, string role, bool named = false)
    {
        var token = await credential.GetTokenAsync(new(Scope));
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        if (named)
        {
            builder.ConnectionStringBuilder.Username = role;
        }

        await builder.UseEntraAuthenticationAsync(credential);
        await using var source = builder.Build();
        await using var command = source.CreateCommand("select current_user");
        Assert.Equal(role, await command.ExecuteScalarAsync());

        Assert.Equal(token.Token, credential.GetToken(new(Scope)).Token);
        NativeError.Check(NativeRules.DecodeJwt(token.Token, out var claims, out var error), error);
        var expiry = DateTimeOffset.FromUnixTimeSeconds(JsonNode.Parse(NativeString.Take(claims)!)!["exp"]!.GetValue<long>());
        // An expiry in seconds from now is later by the duration of the response.
        Assert.InRange(token.ExpiresOn, expiry.AddSeconds(-30), expiry.AddSeconds(30));
        Assert.True(token.ExpiresOn > DateTimeOffset.UtcNow);
        if (Environment.GetEnvironmentVariable("PGENTRA_WORKS") is { Length: > 0 } works)
        {
            await File.AppendAllTextAsync(works, $"works: {credential.GetType().Name} in .NET\n");
        }
    }

    /// <summary>Adds an application with every kind of client authentication.</summary>
    private Task<Principal> ApplicationAsync(bool hasRole = true) => emulator.AddAsync("service_principal", settings =>
    {
        settings["certificates"] = List(Certificate("no-key.pem"));
        settings["federated_credentials"] = List(Federated);
        if (!hasRole)
        {
            settings["role"] = false;
        }
    });

    /// <summary>Returns a cluster's assertion for an application.</summary>
    private async Task<string> AssertedAsync(Principal application) =>
        (await emulator.MintAsync(application.Name, new { federated = Federated }))["token"]!.GetValue<string>();

    /// <summary>Makes this a developer's machine, with a user that is signed in to every tool.</summary>
    private async Task<Principal> SignedInAsync()
    {
        Leave();
        var user = await emulator.AddAsync("user");
        Environment.SetEnvironmentVariable("PATH", await emulator.ToolsAsync(user) + Path.PathSeparator + Environment.GetEnvironmentVariable("PATH"));
        return user;
    }

    private T Here<T>()
        where T : TokenCredentialOptions, new() => new() { AuthorityHost = emulator.AuthorityHost };

    /// <summary>Makes this a machine without a managed identity.</summary>
    private static void Leave()
    {
        Environment.SetEnvironmentVariable("IDENTITY_ENDPOINT", null);
        Environment.SetEnvironmentVariable("IDENTITY_HEADER", null);
    }

    private void MoveTo(string place)
    {
        foreach (var (name, value) in emulator.EnvironmentOf(place))
        {
            Environment.SetEnvironmentVariable(name, value);
        }
    }
}
