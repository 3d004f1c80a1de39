using System.Diagnostics.Metrics;

namespace PgEntra;

/// <summary>The figures of every cached token as <c>Meter("PgEntra")</c>. They are read when somebody collects them.</summary>
internal static class Telemetry
{
    private static readonly Meter Meter = Make();

    /// <summary>Makes the instruments known.</summary>
    internal static void Start() => GC.KeepAlive(Meter);

    /// <summary>Takes them away: they would keep an unloaded assembly.</summary>
    internal static void Stop() => Meter.Dispose();

    private static Meter Make()
    {
        var meter = new Meter("PgEntra", typeof(Telemetry).Assembly.GetName().Version?.ToString(3));
        _ = meter.CreateObservableCounter(
            "pgentra.token.fetches", () => Each(cell => cell.Fetches), "{fetch}", "Token fetches begun.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.failures", () => Each(cell => cell.Failures), "{fetch}", "Token fetches failed.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.refreshes", () => Each(cell => cell.Refreshes), "{fetch}", "Fetches begun in the background.");
        _ = meter.CreateObservableCounter(
            "pgentra.token.invalidations", () => Each(cell => cell.Invalidations), "{fetch}", "Fetches after a refused login.");
        _ = meter.CreateObservableGauge(
            "pgentra.token.consecutive_failures",
            () => Each(cell => (long)cell.ConsecutiveFailures),
            "{fetch}",
            "Failed fetches since the last token.");
        _ = meter.CreateObservableGauge(
            "pgentra.token.expires_in",
            () => Each(cell => cell.ExpiresIn?.TotalSeconds ?? 0),
            "s",
            "Until the token's end.");
        return meter;
    }

    private static IEnumerable<Measurement<T>> Each<T>(Func<TokenStats, T> figure)
        where T : struct =>
        TokenProvider.AllStats().Select(cell => new Measurement<T>(
            figure(cell),
            new KeyValuePair<string, object?>("pgentra.credential", cell.Credential),
            new KeyValuePair<string, object?>("pgentra.scope", cell.Scope),
            new KeyValuePair<string, object?>("pgentra.principal.object_id", cell.ObjectId)));
}
