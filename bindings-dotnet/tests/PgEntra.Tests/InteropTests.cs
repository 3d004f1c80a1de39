using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using PgEntra.Identity;

namespace PgEntra.Tests;

/// <summary>The interface between .NET and the engine: strings, threads, callbacks, logs, statistics, unloading.</summary>
public sealed class InteropTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Fact]
    public async Task TokenProvider_warm_returns_the_same_string_and_allocates_nothing()
    {
        var principal = await emulator.AddAsync();
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var first = await provider.GetTokenAsync();
        Assert.Same(first, provider.GetToken());
        Assert.Same(first, await provider.GetTokenAsync());
        Assert.Same(await provider.LoginAsync(), provider.Login());
        var before = GC.GetAllocatedBytesForCurrentThread();
        var done = true;
        for (var call = 0; call < 1000; call++)
        {
            _ = provider.GetToken();
            done &= provider.GetTokenAsync().IsCompletedSuccessfully;
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.True(done);
    }

    [Fact]
    public async Task GetTokenAsync_blocks_no_thread_of_the_pool()
    {
        var principal = await emulator.AddAsync();
        await emulator.AddFaultAsync(new { endpoint = "app_service", latency_ms = 500, principal = principal.Name });
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var waiting = Enumerable.Range(0, 100).Select(_ => provider.GetTokenAsync().AsTask()).ToArray();
        var watch = Stopwatch.StartNew();
        await Task.Run(() => { });
        Assert.True(watch.ElapsedMilliseconds < 400, $"{watch.ElapsedMilliseconds} ms");
        Assert.All(waiting, task => Assert.False(task.IsCompleted));
        await Task.WhenAll(waiting);
    }

    [Fact]
    public async Task GetToken_with_all_pool_threads_blocked_gets_a_token_of_a_custom_credential()
    {
        using var begun = new SemaphoreSlim(0);
        var credential = new CallbackCredential(_ => new AccessToken("t", DateTimeOffset.UtcNow.AddHours(1)));
        using var provider = new TokenProvider(credential);
        ThreadPool.GetMinThreads(out var threads, out _);
        var blocked = Enumerable.Range(0, threads * 2).Select(_ => Task.Run(() => provider.GetToken())).ToArray();
        var tokens = await Task.WhenAll(blocked).WaitAsync(TimeSpan.FromSeconds(10));
        Assert.All(tokens, token => Assert.Equal("t", token));
    }

    [Fact]
    public async Task GetToken_inside_the_credentials_own_call_fails_at_once()
    {
        TokenProvider? provider = null;
        var synchronous = new CallbackCredential(_ => new AccessToken(provider!.GetToken(), DateTimeOffset.UtcNow.AddHours(1)));
        using (provider = new TokenProvider(synchronous))
        {
            var failure = Assert.ThrowsAny<PgEntraException>(() => provider.GetToken());
            Assert.Equal("would_deadlock", PgEntraException.Find(failure.InnerException)!.Code);
        }

        var asynchronous = new CallbackCredential(async (_, token) => new(await provider.GetTokenAsync(token), DateTimeOffset.UtcNow.AddHours(1)));
        using (provider = new TokenProvider(asynchronous))
        {
            var failure = await Assert.ThrowsAnyAsync<PgEntraException>(async () => await provider.GetTokenAsync());
            Assert.Equal("would_deadlock", PgEntraException.Find(failure.InnerException)!.Code);
        }
    }

    [Fact]
    public async Task CustomCredential_without_a_cache_is_called_in_each_callers_context()
    {
        var caller = new AsyncLocal<string>();
        var credential = new CallbackCredential(_ => new AccessToken($"for-{caller.Value}", DateTimeOffset.UtcNow.AddHours(1)));
        using var provider = new TokenProvider(credential, new() { Cache = false, ManagementLookup = false });
        caller.Value = "one";
        Assert.Equal("for-one", provider.GetToken());
        caller.Value = "two";
        Assert.Equal("for-two", await provider.GetTokenAsync());
    }

    [Fact]
    public void EntraOptions_are_read_once_without_a_cache()
    {
        var credential = new ChainedTokenCredential(
            new CallbackCredential(request => new AccessToken($"for-{request.Scope}", DateTimeOffset.UtcNow.AddHours(1))));
        var options = new EntraOptions { Cache = false, Scope = "api://one/.default" };
        using var provider = new TokenProvider(credential, options);
        options.Scope = "";
        Environment.SetEnvironmentVariable("AZURE_AUTHORITY_HOST", "no address");
        Assert.Equal("for-api://one/.default", provider.GetToken());
    }

    [Fact]
    public void ExecutionContext_of_a_caller_is_released()
    {
        var seen = new List<object?>();
        var request = new AsyncLocal<object?>();
        var credential = new CallbackCredential(_ =>
        {
            seen.Add(request.Value is null ? null : "the request");
            return new AccessToken($"token-{seen.Count}", DateTimeOffset.UtcNow.AddHours(1));
        });
        using var provider = new TokenProvider(credential);
        var held = AskInside(provider, request);
        for (var round = 0; round < 20 && held.IsAlive; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.False(held.IsAlive);
        Assert.Equal(["the request"], seen);
        GC.KeepAlive(credential);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference AskInside(TokenProvider provider, AsyncLocal<object?> request)
        {
            var value = new object();
            // A separate flow, which ends with the thread.
            var thread = new Thread(() =>
            {
                request.Value = value;
                _ = provider.GetToken();
            });
            thread.Start();
            thread.Join();
            return new(value);
        }
    }

    [Fact]
    public async Task CustomCredential_with_a_waiting_caller_is_kept_until_it_responds()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var waiting = Ask(gate.Task, asked);
        await asked.Task;
        for (var round = 0; round < 5; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        gate.SetResult();
        Assert.Equal("t", (await waiting).Token);

        // Only the wait holds the chain and its second member.
        [MethodImpl(MethodImplOptions.NoInlining)]
        static Task<AccessToken> Ask(Task gate, TaskCompletionSource asked)
        {
            var first = new CallbackCredential(async (_, _) =>
            {
                asked.SetResult();
                await gate;
                throw new Azure.Identity.CredentialUnavailableException("not here");
            });
            var second = new CallbackCredential(_ => new AccessToken("t", DateTimeOffset.UtcNow.AddHours(1)));
            return new ChainedTokenCredential(first, second).GetTokenAsync(new("api://any/.default")).AsTask();
        }
    }

    [Fact]
    public void ChainedTokenCredential_with_different_proxies_or_ca_files_is_an_error()
    {
        ClientSecretCredential Of(string? proxy, string? caFile) =>
            new("t", "c", "canary", new() { Proxy = proxy is null ? null : new(proxy), CaFile = caFile });
        foreach (var (one, other) in new[]
        {
            (Of("http://one:3128", null), Of("http://two:3128", null)),
            (Of(null, "/one.pem"), Of(null, "/two.pem")),
            (Of("http://one:3128", "/one.pem"), Of("http://one:3128", null)),
        })
        {
            var failure = Assert.ThrowsAny<PgEntraException>(() => new ChainedTokenCredential(one, new ManagedIdentityCredential(), other));
            Assert.Equal("invalid_configuration", failure.Code);
            Assert.Contains(
                "its credentials have different proxies or different files of certificate authorities", failure.Message, StringComparison.Ordinal);
        }

        var source = new ChainedTokenCredential(
            new ManagedIdentityCredential(), Of("http://one:3128", "/one.pem"), Of("http://one:3128", "/one.pem")).Source;
        Assert.Equal(("/one.pem", "http://one:3128"), (source.CaFile, source.Variables!["HTTPS_PROXY"]));
    }

    [Fact]
    public async Task Credential_warm_returns_the_same_string_for_each_scope()
    {
        var soon = DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.AddMinutes(30).ToUnixTimeSeconds());
        var credential = new CallbackCredential(request => new AccessToken($"for-{request.Scope}", soon.AddMinutes(30), soon));
        TokenRequest[] requests = [new("api://one"), new("api://two")];
        var tokens = requests.Select(request => credential.GetToken(request)).ToArray();
        for (var index = 0; index < requests.Length; index++)
        {
            var again = await credential.GetTokenAsync(requests[index]);
            Assert.Same(tokens[index].Token, again.Token);
            Assert.Equal(($"for-{requests[index].Scope}", soon.AddMinutes(30)), (again.Token, again.ExpiresOn));
            Assert.InRange(again.RefreshOn!.Value, DateTimeOffset.UtcNow, soon);
        }
    }

    [Fact]
    public void AccessToken_expiry_beyond_the_calendar_is_its_end()
    {
        // An `exp` in milliseconds.
        var token = "e30." + System.Buffers.Text.Base64Url.EncodeToString("{\"exp\": 4000000000000}"u8) + ".sig";
        var credential = new StaticTokenCredential(token);
        for (var call = 0; call < 2; call++)
        {
            Assert.Equal(9999, credential.GetToken(new("api://any")).ExpiresOn.Year);
        }
    }

    [Fact]
    public async Task CustomCredential_result_is_checked()
    {
        foreach (var bad in new[] { "", "two words", "line\nbreak", "nul\0", null! })
        {
            using var provider = new TokenProvider(new CallbackCredential((_, _) => new(new AccessToken(bad, DateTimeOffset.UtcNow.AddHours(1)))));
            var failure = await Assert.ThrowsAnyAsync<PgEntraException>(async () => await provider.GetTokenAsync());
            Assert.True(failure.Code is "credential_value" or "custom_credential", failure.ToString());
        }

        using var dead = new TokenProvider(new CallbackCredential(_ => new AccessToken("t", DateTimeOffset.UtcNow.AddHours(-1))));
        Assert.Equal("dead_on_arrival", Assert.ThrowsAny<PgEntraException>(() => dead.GetToken()).Code);
    }

    [Fact]
    public async Task TokenProvider_disposed_ends_its_waits_and_rejects_calls()
    {
        var principal = await emulator.AddAsync();
        await emulator.AddFaultAsync(new { endpoint = "app_service", connection = "black_hole", principal = principal.Name });
        var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var waiting = provider.GetTokenAsync().AsTask();
        provider.Dispose();
        var failure = await Assert.ThrowsAnyAsync<PgEntraException>(() => waiting).WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(ErrorKind.Cancelled, failure.Kind);
        Assert.Throws<ObjectDisposedException>(() => provider.GetToken());
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await provider.GetTokenAsync());
        await emulator.ClearFaultsAsync();
    }

    [Fact]
    public async Task ToString_contains_no_secret()
    {
        using var provider = new TokenProvider();
        var login = await provider.LoginAsync();
        Assert.DoesNotContain(login.Password, login.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("canary", new AccessToken("canary", default).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task PgEntraLogging_passes_events_to_ILogger()
    {
        var principal = await emulator.AddAsync();
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(factory);
        try
        {
            using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
            _ = await provider.GetTokenAsync();
            Assert.StartsWith("PgEntra Debug ", log.WaitFor("token fetched"), StringComparison.Ordinal);
            _ = new ClientSecretCredential("t", "c", "canary-secret", new() { Diagnostics = { IsLoggingContentEnabled = true } });
            Assert.Contains(log.Lines, line => line.Contains("Diagnostics", StringComparison.Ordinal));
            // From here on only errors are logged.
            using var errors = log.Factory(LogLevel.Error);
            PgEntraLogging.Use(errors);
            var refused = new ManagedIdentityCredential(Guid.NewGuid().ToString());
            await Assert.ThrowsAnyAsync<PgEntraException>(async () => await refused.GetTokenAsync(new("api://refused")));
            Assert.StartsWith("PgEntra Error ", log.WaitFor("token fetch failed"), StringComparison.Ordinal);
            Assert.Single(log.Lines, line => line.Contains("fetch ended", StringComparison.Ordinal));
            Assert.DoesNotContain(log.Lines, line => line.Contains("canary", StringComparison.Ordinal) || line.Contains("eyJ", StringComparison.Ordinal));
        }
        finally
        {
            PgEntraLogging.Use(null);
        }
    }

    [Fact]
    public async Task Meter_publishes_the_statistics()
    {
        var principal = await emulator.AddAsync();
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        _ = await provider.GetTokenAsync();
        var metrics = new List<Metric>();
        using (var meters = Sdk.CreateMeterProviderBuilder().AddMeter("PgEntra").AddInMemoryExporter(metrics).Build())
        {
            Assert.True(meters.ForceFlush());
        }

        double? Figure(string name)
        {
            foreach (ref readonly var point in metrics.First(metric => metric.Name == name).GetMetricPoints())
            {
                foreach (var tag in point.Tags)
                {
                    if (tag.Key == "pgentra.principal.object_id" && (string?)tag.Value == principal.Oid)
                    {
                        return name == "pgentra.token.fetches" ? point.GetSumLong() : point.GetGaugeLastValueDouble();
                    }
                }
            }

            return null;
        }

        Assert.Equal(1, Figure("pgentra.token.fetches"));
        Assert.True(Figure("pgentra.token.expires_in") > 80_000);
    }

    [Fact]
    public async Task TokenStats_contain_the_principal()
    {
        var principal = await emulator.AddAsync();
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var login = await provider.LoginAsync();
        var stats = provider.Stats();
        Assert.Equal((principal.Name, "management token"), (login.User, login.UserSource));
        Assert.Equal((principal.Name, principal.Oid, 1L), (stats.Role, stats.ObjectId, stats.Fetches));
        Assert.True(stats.ExpiresIn > TimeSpan.FromHours(20) && stats.LastSuccess > DateTimeOffset.UtcNow.AddMinutes(-5));
    }

    [Fact]
    public async Task AssemblyLoadContext_collectible_is_unloaded_and_the_engine_continues()
    {
        var principal = await emulator.AddAsync();
        var context = UseInContext(principal.ClientId);
        for (var round = 0; round < 50 && context.IsAlive; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            await Task.Delay(20);
        }

        Assert.False(context.IsAlive);
        // The engine belongs to the process, and still has the token.
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        _ = provider.GetToken();
        Assert.Single(await emulator.RequestsAsync(principal));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference UseInContext(string clientId)
    {
        var context = new Isolated();
        var assembly = context.LoadFromAssemblyPath(typeof(TokenProvider).Assembly.Location);
        Assert.NotSame(typeof(TokenProvider).Assembly, assembly);
        assembly.GetType("PgEntra.PgEntraLogging")!.GetMethod("Use")!.Invoke(null, [LoggerFactory.Create(_ => { })]);
        var credential = assembly.GetType("PgEntra.Identity.ManagedIdentityCredential")!
            .GetConstructor([typeof(string), assembly.GetType("PgEntra.Identity.TokenCredentialOptions")!])!.Invoke([clientId, null]);
        var type = assembly.GetType("PgEntra.TokenProvider")!;
        var provider = type.GetConstructors()[0].Invoke([credential, null]);
        Assert.StartsWith("eyJ", (string)type.GetMethod("GetToken")!.Invoke(provider, [CancellationToken.None])!, StringComparison.Ordinal);
        context.Unload();
        return new(context);
    }

    private sealed class Isolated() : AssemblyLoadContext(isCollectible: true)
    {
        protected override Assembly? Load(AssemblyName assemblyName) => null;

        protected override nint LoadUnmanagedDll(string unmanagedDllName) => unmanagedDllName == "pgentra"
            ? LoadUnmanagedDllFromPath(Path.Combine(AppContext.BaseDirectory, "libpgentra.so"))
            : 0;
    }
}
