using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using PgEntra;

namespace Samples;

/// <summary>A worker service, with PgEntra's events in its log.</summary>
internal static class HostedServiceSample
{
    public static async Task<string> RunAsync(string connectionString)
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        // With the package Npgsql.DependencyInjection: AddNpgsqlDataSource(connectionString, b => b.UseEntraAuthentication())
        builder.Services.AddSingleton(services =>
        {
            PgEntraLogging.Use(services.GetRequiredService<ILoggerFactory>());
            return new NpgsqlDataSourceBuilder(connectionString).UseEntraAuthentication().Build();
        });
        builder.Services.AddSingleton<Worker>();
        builder.Services.AddHostedService(services => services.GetRequiredService<Worker>());
        using var host = builder.Build();
        var worker = host.Services.GetRequiredService<Worker>();
        await host.RunAsync();
        return worker.Role;
    }

    private sealed class Worker(NpgsqlDataSource source, IHostApplicationLifetime lifetime) : BackgroundService
    {
        public string Role { get; private set; } = "";

        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            await using var command = source.CreateCommand("select current_user");
            Role = (string)(await command.ExecuteScalarAsync(stoppingToken))!;
            lifetime.StopApplication();
        }
    }
}
