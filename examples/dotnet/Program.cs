// dotnet run -- sync | async | efcore | hosted
using System.Diagnostics;
using Microsoft.Extensions.Configuration;
using Npgsql;
using Samples;

// appsettings.json, then environment variables, which take precedence.
var configuration = new ConfigurationBuilder()
    .SetBasePath(AppContext.BaseDirectory)
    .AddJsonFile("appsettings.json", optional: true)
    .AddEnvironmentVariables()
    .Build();
if (string.IsNullOrWhiteSpace(configuration["Host"]))
{
    Console.Error.WriteLine("Set Host in appsettings.json or as an environment variable.");
    return 2;
}

var connectionString = new NpgsqlConnectionStringBuilder
{
    Host = configuration["Host"],
    Database = configuration["Database"] ?? "postgres",
    Port = configuration.GetValue("Port", 5432),
    SslMode = configuration.GetValue("SslMode", SslMode.VerifyFull),
}.ConnectionString;

string[] modes = args.Length > 0 ? args : ["sync", "async", "efcore", "hosted"];
foreach (var mode in modes)
{
    var watch = Stopwatch.StartNew();
    var role = mode switch
    {
        "sync" => NpgsqlSample.Run(connectionString),
        "async" => await NpgsqlSample.RunAsync(connectionString),
        "efcore" => await EntityFrameworkSample.RunAsync(connectionString),
        "hosted" => await HostedServiceSample.RunAsync(connectionString),
        _ => throw new ArgumentException($"no such sample: {mode}"),
    };
    Console.WriteLine($"{mode}: logged in as {role} after {watch.ElapsedMilliseconds} ms");
}

return 0;
