using Microsoft.Extensions.Logging;

namespace PgEntra.Tests;

/// <summary>Records log lines: category, level, text.</summary>
internal sealed class RecordingLogger : ILoggerProvider
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

    public ILoggerFactory Factory(LogLevel least = LogLevel.Debug) =>
        LoggerFactory.Create(builder => builder.SetMinimumLevel(least).AddProvider(this));

    /// <summary>Waits for a line that contains a text.</summary>
    public string WaitFor(string part)
    {
        string? Found() => Lines.FirstOrDefault(line => line.Contains(part, StringComparison.Ordinal));
        Assert.True(SpinWait.SpinUntil(() => Found() is not null, TimeSpan.FromSeconds(20)), $"no line with {part}");
        return Found()!;
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
