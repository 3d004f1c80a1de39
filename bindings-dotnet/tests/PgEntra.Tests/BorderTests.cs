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

/// <summary>Where .NET and the engine meet: strings, threads, callbacks, logs, figures, unloading.</summary>
public sealed class BorderTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Fact]
    public async Task The_warm_path_hands_the_same_string_out_again_and_allocates_nothing()
    {
        using var provider = new TokenProvider();
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
    public async Task No_thread_of_the_pool_is_blocked_while_callers_wait_asynchronously()
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
    public async Task Callers_that_block_every_thread_of_the_pool_still_get_a_token_from_the_programs_credential()
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
    public async Task A_call_inside_of_the_credentials_own_call_fails_at_once()
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
    public async Task Without_a_cache_the_credential_is_asked_each_time_in_its_callers_context()
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
    public async Task What_a_credential_of_the_program_returns_is_checked()
    {
        foreach (var bad in new[] { "", "two words", "line\nbreak", "nul\0", null! })
        {
            using var provider = new TokenProvider(new CallbackCredential((_, _) => new(new AccessToken(bad, DateTimeOffset.UtcNow.AddHours(1)))));
            var failure = await Assert.ThrowsAnyAsync<PgEntraException>(async () => await provider.GetTokenAsync());
            Assert.True(failure.Code is "credential_value" or "host_credential", failure.ToString());
        }

        using var dead = new TokenProvider(new CallbackCredential(_ => new AccessToken("t", DateTimeOffset.UtcNow.AddHours(-1))));
        Assert.Equal("dead_on_arrival", Assert.ThrowsAny<PgEntraException>(() => dead.GetToken()).Code);
    }

    [Fact]
    public async Task A_closed_provider_is_refused_and_ends_its_waits()
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
    public async Task Secrets_are_not_shown()
    {
        using var provider = new TokenProvider();
        var login = await provider.LoginAsync();
        Assert.DoesNotContain(login.Password, login.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("planted", new AccessToken("planted", default).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Events_reach_ILogger()
    {
        var principal = await emulator.AddAsync();
        using var log = new Recorder();
        using var factory = LoggerFactory.Create(builder => builder.SetMinimumLevel(LogLevel.Debug).AddProvider(log));
        PgEntraLogging.Use(factory);
        try
        {
            using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
            _ = await provider.GetTokenAsync();
            await Emulator.EventuallyAsync(() => Task.FromResult(log.Lines.Any(line => line.StartsWith("PgEntra ", StringComparison.Ordinal))));
            _ = new ClientSecretCredential("t", "c", "planted-secret", new() { Diagnostics = new() });
            Assert.Contains(log.Lines, line => line.Contains("Diagnostics", StringComparison.Ordinal));
            Assert.DoesNotContain(log.Lines, line => line.Contains("planted", StringComparison.Ordinal) || line.Contains("eyJ", StringComparison.Ordinal));
        }
        finally
        {
            PgEntraLogging.Use(null);
        }
    }

    [Fact]
    public async Task Figures_are_a_Meter()
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
    public async Task Statistics_tell_whose_token_it_is()
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
    public async Task A_collectible_load_context_is_unloaded_while_the_engine_goes_on()
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
        // The engine is the process's own and has the token still.
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

    private sealed class Recorder : ILoggerProvider
    {
        private readonly List<string> lines = [];

        public IReadOnlyList<string> Lines
        {
            get
            {
                lock (lines)
                {
                    return [.. lines];
                }
            }
        }

        public ILogger CreateLogger(string categoryName) => new Category(lines, categoryName);

        public void Dispose()
        {
        }

        private sealed class Category(List<string> lines, string name) : ILogger
        {
            public IDisposable? BeginScope<TState>(TState state)
                where TState : notnull => null;

            public bool IsEnabled(LogLevel logLevel) => true;

            public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
            {
                lock (lines)
                {
                    lines.Add($"{name} {logLevel} {formatter(state, exception)}");
                }
            }
        }
    }
}
