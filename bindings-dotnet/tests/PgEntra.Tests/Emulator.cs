using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Npgsql;
using PgEntra.Tests;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(Emulator))]

// The environment, the emulator's faults and the engine's log belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
[assembly: KeepsEnvironment]

namespace PgEntra.Tests;

/// <summary>A principal of one test, for which no token is cached.</summary>
public sealed record Principal(string Name, string Oid, string ClientId, string Secret);

/// <summary>Restores the environment after each test, because the order of the tests varies.</summary>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class KeepsEnvironmentAttribute : BeforeAfterTestAttribute
{
    private Dictionary<string, string?> before = [];

    public override void Before(MethodInfo methodUnderTest, IXunitTest test) => before = Variables();

    public override void After(MethodInfo methodUnderTest, IXunitTest test)
    {
        foreach (var name in Variables().Keys.Union(before.Keys))
        {
            Environment.SetEnvironmentVariable(name, before.GetValueOrDefault(name));
        }
    }

    private static Dictionary<string, string?> Variables() => Environment.GetEnvironmentVariables()
        .Cast<DictionaryEntry>().ToDictionary(one => (string)one.Key, one => (string?)one.Value);
}

/// <summary>The emulator as a child process, and a client of its control endpoint. emulator/README.md is the reference.</summary>
public sealed partial class Emulator : IAsyncLifetime
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);

    private readonly HttpClient client = new() { Timeout = TimeSpan.FromSeconds(30) };
    private Process? process;
    private JsonNode addresses = new JsonObject();
    private int names;

    public static string Root { get; } = FindRoot();

    public string TenantId => Text("tenant_id");

    public Uri AuthorityHost => new(Text("authority_host"));

    public string ImdsHost => Text("imds_host");

    public string CaFile => Text("ca_file");

    public string BundleFile => Text("bundle_file");

    public int Port => addresses["postgres"]!["port"]!.GetValue<int>();

    /// <summary>A connection string of the emulator's PostgreSQL proxy, with verified TLS and without a user.</summary>
    public string ConnectionString => new NpgsqlConnectionStringBuilder
    {
        Host = addresses["postgres"]!["host"]!.GetValue<string>(),
        Port = Port,
        Database = addresses["postgres"]!["database"]!.GetValue<string>(),
        SslMode = SslMode.VerifyFull,
        RootCertificate = CaFile,
    }.ConnectionString;

    public async ValueTask InitializeAsync()
    {
        process = Process.Start(new ProcessStartInfo(FindEmulator()) { RedirectStandardOutput = true, ArgumentList = { } })
            ?? throw new InvalidOperationException("the emulator did not start");
        using var limit = new CancellationTokenSource(StartLimit);
        var line = await process.StandardOutput.ReadLineAsync(limit.Token);
        addresses = JsonNode.Parse(line ?? "{}")!;
        Adopt();
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            process?.Kill();
            await (process?.WaitForExitAsync() ?? Task.CompletedTask).WaitAsync(TimeSpan.FromSeconds(10));
        }
        finally
        {
            process?.Dispose();
            client.Dispose();
        }
    }

    /// <summary>Returns the variables of a program on another platform, such as <c>azure_arc</c>.</summary>
    public Dictionary<string, string> EnvironmentOf(string place) => addresses["hosts"]![place].Deserialize<Dictionary<string, string>>()!;

    /// <summary>Returns the variables of a program that uses the emulator's endpoints.</summary>
    public Dictionary<string, string> Environment() => new()
    {
        ["IDENTITY_ENDPOINT"] = addresses["app_service"]!["endpoint"]!.GetValue<string>(),
        ["IDENTITY_HEADER"] = addresses["app_service"]!["header"]!.GetValue<string>(),
        ["SSL_CERT_FILE"] = BundleFile,
        ["NO_PROXY"] = "localhost,127.0.0.1,::1",
    };

    /// <summary>Sets these variables in this process.</summary>
    public void Adopt()
    {
        var wanted = Environment();
        foreach (var name in System.Environment.GetEnvironmentVariables().Keys.Cast<string>().ToArray())
        {
            if (Inherited().IsMatch(name) && !wanted.ContainsKey(name))
            {
                System.Environment.SetEnvironmentVariable(name, null);
            }
        }

        foreach (var (name, value) in wanted)
        {
            System.Environment.SetEnvironmentVariable(name, value);
        }
    }

    /// <summary>Removes all faults, recorded requests and settings.</summary>
    public async Task ResetAsync()
    {
        Adopt();
        await CallAsync(HttpMethod.Delete, "/faults");
        await CallAsync(HttpMethod.Delete, "/requests");
        var settings = (await CallAsync(HttpMethod.Get, "/tokens")).AsObject();
        await CallAsync(HttpMethod.Patch, "/tokens", new JsonObject(settings.Select(one => KeyValuePair.Create(one.Key, (JsonNode?)null))));
        await ControlPostgresAsync(new { reset = true });
    }

    public async Task<JsonNode> CallAsync(HttpMethod method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(method, Text("control") + path);
        if (body is not null)
        {
            request.Content = JsonContent.Create(body);
        }

        using var response = await client.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        return response.IsSuccessStatusCode
            ? JsonNode.Parse(text.Length == 0 ? "{}" : text)!
            : throw new InvalidOperationException($"{method} {path}: {text}");
    }

    /// <summary>Adds a principal, with a role of its name.</summary>
    public async Task<Principal> AddAsync(string kind = "user_assigned", Action<JsonObject>? settings = null)
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"{kind.Replace('_', '-')}-{System.Environment.ProcessId}-{++names}");
        var principal = new JsonObject { ["name"] = name, ["kind"] = kind };
        if (kind == "service_principal")
        {
            principal["client_secret"] = $"secret-of-{name}";
        }

        settings?.Invoke(principal);
        var made = (await CallAsync(HttpMethod.Post, "/principals", new JsonArray(principal)))[0]!;
        return new(
            made["name"]!.GetValue<string>(),
            made["oid"]!.GetValue<string>(),
            made["appid"]?.GetValue<string>() ?? "",
            made["client_secret"]?.GetValue<string>() ?? "");
    }

    public async Task<JsonNode> MintAsync(string principal, object? settings = null)
    {
        var body = settings is null ? [] : JsonSerializer.SerializeToNode(settings)!.AsObject();
        body["principal"] = principal;
        return await CallAsync(HttpMethod.Post, "/mint", body);
    }

    /// <summary>Returns the token that a user sends to an application.</summary>
    public async Task<string> SentToAsync(Principal application, Principal user) =>
        (await MintAsync(user.Name, new { audience = $"api://{application.ClientId}" }))["token"]!.GetValue<string>();

    /// <summary>Returns the folder of an <c>az</c>, an <c>azd</c> and a <c>pwsh</c> that a user is signed in to.</summary>
    public async Task<string> ToolsAsync(Principal user) =>
        (await CallAsync(HttpMethod.Post, "/tools", new { principal = user.Name }))["path"]!.GetValue<string>();

    public async Task<long> AddFaultAsync(object fault) =>
        (await CallAsync(HttpMethod.Post, "/faults", fault))["ids"]![0]!.GetValue<long>();

    public Task ClearFaultsAsync() => CallAsync(HttpMethod.Delete, "/faults");

    public Task SetTokensAsync(object settings) => CallAsync(HttpMethod.Patch, "/tokens", settings);

    public Task ControlPostgresAsync(object settings) => CallAsync(HttpMethod.Post, "/postgres", settings);

    /// <summary>Returns the requests for database tokens of a principal.</summary>
    public async Task<IReadOnlyList<JsonNode>> RequestsAsync(Principal? principal = null, string resource = "ossrdbms")
    {
        var answer = await CallAsync(HttpMethod.Get, "/requests");
        return [.. answer["requests"]!.AsArray().Select(one => one!).Where(one =>
            (principal is null || one["principal"]?.GetValue<string>() == principal.Name)
            && one["resource"]?.GetValue<string>().Contains(resource, StringComparison.Ordinal) == true)];
    }

    /// <summary>Waits until a condition holds.</summary>
    public static async Task EventuallyAsync(Func<Task<bool>> holds, int seconds = 20)
    {
        var watch = Stopwatch.StartNew();
        while (!await holds())
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(seconds), $"did not happen within {seconds} s");
            await Task.Delay(20);
        }
    }

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Cargo.toml")) || !Directory.Exists(Path.Combine(folder, "tests", "vectors")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("not inside of the repository");
        }

        return folder;
    }

    /// <summary>The engine without test functions, in the folder of the emulator. The tests themselves use an engine that can run vectors.</summary>
    public static string Library => Path.Combine(Path.GetDirectoryName(FindEmulator())!, "libpgentra.so");

    private static string FindEmulator()
    {
        if (System.Environment.GetEnvironmentVariable("PGENTRA_EMULATOR") is { Length: > 0 } named)
        {
            return named;
        }

        var built = new[] { "release", "debug" }
            .Select(profile => Path.Combine(Root, "target", profile, "pgentra-emulator"))
            .Where(File.Exists)
            .OrderByDescending(File.GetLastWriteTimeUtc)
            .FirstOrDefault();
        return built ?? throw new InvalidOperationException("the emulator is not built: cargo build -p pgentra-emulator");
    }

    /// <summary>The variables that a tested program must not inherit, because they change its identity or its connections.</summary>
    [GeneratedRegex("^(AZURE_|IDENTITY_|MSI_|IMDS_|SYSTEM_|PG(?!ENTRA_)|SSL_CERT_|(HTTP|HTTPS|ALL)_PROXY)", RegexOptions.IgnoreCase)]
    private static partial Regex Inherited();

    private string Text(string key) => addresses[key]!.GetValue<string>();
}
