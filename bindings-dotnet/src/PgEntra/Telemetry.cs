using System.Diagnostics.Metrics;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Publishes the statistics of all cached tokens as <c>Meter("PgEntra")</c>. They are read when they are collected.</summary>
internal static class Telemetry
{
    private static readonly Meter Meter = Create();

    /// <summary>Creates the instruments.</summary>
    internal static void Start() => GC.KeepAlive(Meter);

    private static Meter Create()
    {
        var meter = new Meter("PgEntra", typeof(Telemetry).Assembly.GetName().Version?.ToString(3));
        // The instruments would keep an assembly that is unloaded.
        Library.Unloading += meter.Dispose;
        _ = meter.CreateObservableCounter(
            "pgentra.token.fetches", () => Each(entry => entry.Fetches), "{fetch}", "Token fetches.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.failures", () => Each(entry => entry.Failures), "{fetch}", "Failed token fetches.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.refreshes", () => Each(entry => entry.Refreshes), "{fetch}", "Token fetches in the background.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.invalidations", () => Each(entry => entry.Invalidations), "{fetch}", "Token fetches after a login error.");
        _ = meter.CreateObservableGauge(
            "pgentra.token.consecutive_failures",
            () => Each(entry => (long)entry.ConsecutiveFailures),
            "{fetch}",
            "Failed token fetches since the last successful one.");
        _ = meter.CreateObservableGauge(
            "pgentra.token.expires_in",
            () => Each(entry => entry.ExpiresIn?.TotalSeconds ?? 0),
            "s",
            "Time until the token expires.");
        return meter;
    }

    private static IEnumerable<Measurement<T>> Each<T>(Func<TokenStats, T> figure)
        where T : struct =>
        TokenStats.ReadAll().Select(entry => new Measurement<T>(
            figure(entry),
            new KeyValuePair<string, object?>("pgentra.credential", entry.Credential),
            new KeyValuePair<string, object?>("pgentra.scope", entry.Scope),
            new KeyValuePair<string, object?>("pgentra.principal.object_id", entry.ObjectId)));
}
