// One measurement in a process of its own, so that what is cold is cold: MEASURE ours|peer|bare. The result is a line of JSON.
//
// The variable PGENTRA_BENCHMARK holds where the emulator is and who is registered in it. benchmarks/run.py sets the faults,
// counts the requests and takes the medians. The peer is Azure.Identity with the password provider that Microsoft's helper
// installs. Each contestant is in methods of its own, so that a program loads nothing of the others.
using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Npgsql;
using PgEntra.Benchmarks;

const int WarmCalls = 200_000;
const int Callers = 200;

if (args is ["pools"])
{
    await Pools.RunAsync();
    return;
}

var (measure, who) = (args[0], args[1]);
switch (measure)
{
    case "warm-identity":
    case "warm-secret":
        var provider = Contestants.Provider(who, managedIdentity: measure == "warm-identity");
        var settings = new NpgsqlConnectionStringBuilder("Host=localhost;SSL Mode=Require");
        _ = await provider.Async(settings, default);
        for (var call = 0; call < WarmCalls; call++)
        {
            _ = provider.Sync(settings);
            _ = await provider.Async(settings, default);
        }

        // Tiered compilation ends in the background.
        await Task.Delay(500);
        var bytes = GC.GetTotalAllocatedBytes(precise: true);
        var watch = Stopwatch.StartNew();
        for (var call = 0; call < WarmCalls; call++)
        {
            _ = provider.Sync(settings);
        }

        var sync = watch.Elapsed.TotalMicroseconds / WarmCalls;
        watch.Restart();
        for (var call = 0; call < WarmCalls; call++)
        {
            _ = await provider.Async(settings, default);
        }

        var async = watch.Elapsed.TotalMicroseconds / WarmCalls;
        var allocated = (GC.GetTotalAllocatedBytes(precise: true) - bytes) / (2.0 * WarmCalls);
        Tell(("us", sync), ("us_async", async), ("bytes", Math.Round(allocated, 1)));
        break;

    case "first":
        // The runner takes the time from the process's start to this line.
        if (who == "bare")
        {
            // It reads its configuration too.
            _ = Contestants.Application();
            _ = Contestants.Bare();
        }
        else
        {
            _ = await Contestants.Provider(who, managedIdentity: false).Async(new("Host=localhost;SSL Mode=Require"), default);
        }

        Tell(("mb", ResidentMegabytes()));
        break;

    case "stampede":
        var crowd = Contestants.Provider(who, managedIdentity: false);
        var common = new NpgsqlConnectionStringBuilder("Host=localhost;SSL Mode=Require");
        var times = await Task.WhenAll(Enumerable.Range(0, Callers).Select(async caller =>
        {
            await Task.Yield();
            _ = caller;
            var started = Stopwatch.GetTimestamp();
            _ = await crowd.Async(common, default);
            return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        }));
        Tell(("ms", times.Order().ElementAt((Callers * 99 / 100) - 1)));
        break;

    case "next":
        var next = Contestants.Provider(who, managedIdentity: false);
        var connection = new NpgsqlConnectionStringBuilder("Host=localhost;SSL Mode=Require");
        _ = await next.Async(connection, default);
        Console.WriteLine("{\"ready\": true}");
        _ = Console.ReadLine();
        var begun = Stopwatch.GetTimestamp();
        string? error = null;
        try
        {
            _ = await next.Async(connection, default);
        }
        catch (Exception failure)
        {
            error = failure.GetType().Name;
        }

        var took = Stopwatch.GetElapsedTime(begun).TotalMilliseconds;
        Console.WriteLine($"{{\"ms\": {took.ToString(CultureInfo.InvariantCulture)}, \"error\": {(error is null ? "null" : $"\"{error}\"")}}}");
        break;

    default:
        throw new ArgumentException(measure);
}

static void Tell(params (string Name, double Value)[] figures) => Console.WriteLine(
    "{" + string.Join(", ", figures.Select(figure => $"\"{figure.Name}\": {figure.Value.ToString(CultureInfo.InvariantCulture)}")) + "}");

static double ResidentMegabytes()
{
    var pages = long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture);
    return pages * Environment.SystemPageSize / 1e6;
}

namespace PgEntra.Benchmarks
{
    /// <summary>The two functions that a data source is given.</summary>
    internal sealed record PasswordProvider(
        Func<NpgsqlConnectionStringBuilder, string> Sync,
        Func<NpgsqlConnectionStringBuilder, CancellationToken, ValueTask<string>> Async);

    internal static class Contestants
    {
        /// <summary>A program with Npgsql and a password at hand.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public static NpgsqlDataSource Bare()
        {
            var builder = new NpgsqlDataSourceBuilder("Host=localhost;Username=u;SSL Mode=Require");
            builder.UsePasswordProvider(_ => "password", (_, _) => new("password"));
            return builder.Build();
        }

        public static PasswordProvider Provider(string who, bool managedIdentity)
        {
            _ = Bare();
            return who == "ours" ? Ours(managedIdentity) : Peer(managedIdentity);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static PasswordProvider Ours(bool managedIdentity)
        {
            PgEntra.Identity.PgEntraCredential credential = managedIdentity
                ? new PgEntra.Identity.ManagedIdentityCredential()
                : Secret();
            var entra = new EntraAuthentication(
                new("Host=localhost;Username=u;SSL Mode=Require"), credential, new EntraOptions());
            return new(entra.PasswordProvider!, entra.PasswordProviderAsync!);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static PgEntra.Identity.ClientSecretCredential Secret()
        {
            var (tenant, client, secret, authority) = Application();
            return new(tenant, client, secret, new() { AuthorityHost = authority });
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static PasswordProvider Peer(bool managedIdentity)
        {
            Azure.Core.TokenCredential credential = managedIdentity
                ? new Azure.Identity.ManagedIdentityCredential(Azure.Identity.ManagedIdentityId.SystemAssigned)
                : PeerSecret();
            var context = new Azure.Core.TokenRequestContext(["https://ossrdbms-aad.database.windows.net/.default"]);
            return new(
                _ => credential.GetToken(context, default).Token,
                async (_, token) => (await credential.GetTokenAsync(context, token).ConfigureAwait(false)).Token);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Azure.Identity.ClientSecretCredential PeerSecret()
        {
            var (tenant, client, secret, authority) = Application();
            return new(tenant, client, secret, new Azure.Identity.ClientSecretCredentialOptions { AuthorityHost = authority, DisableInstanceDiscovery = true });
        }

        public static (string Tenant, string Client, string Secret, Uri Authority) Application()
        {
            using var document = JsonDocument.Parse(Environment.GetEnvironmentVariable("PGENTRA_BENCHMARK")!);
            string Text(string key) => document.RootElement.GetProperty(key).GetString()!;
            return (Text("tenant_id"), Text("client_id"), Text("client_secret"), new Uri(Text("authority_host")));
        }
    }
}
