import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.LocalHBaseCluster;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.regionserver.HRegion;
import org.apache.hadoop.hbase.rest.RESTServer;
import org.apache.hadoop.hbase.util.JVMClusterUtil;
import org.apache.hadoop.hbase.zookeeper.MiniZooKeeperCluster;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Starts an HBase in one process, with its ZooKeeper and its REST gateway: DIR READY ADMIN-PORT [setting=value ...]
 * READY is written, with its process id, when all of it answers. What the gateway cannot do, the port for admins can:
 * POST /COMMAND/TABLE, with the command's arguments, one a line.
 */
public class HBaseLauncher {
    public static void main(String[] args) throws Exception {
        Configuration conf = HBaseConfiguration.create();
        for (int i = 3; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            conf.set(pair[0], pair[1]);
        }
        MiniZooKeeperCluster zookeeper = new MiniZooKeeperCluster(conf);
        zookeeper.setDefaultClientPort(conf.getInt("hbase.zookeeper.property.clientPort", 0));
        forget(zookeeper.startup(Path.of(args[0], "zookeeper").toFile()));
        LocalHBaseCluster cluster = new LocalHBaseCluster(conf, 1, 1);
        cluster.startup();
        Connection connection = ConnectionFactory.createConnection(conf);
        Admin admin = connection.getAdmin();
        admin.listTableNames(); // waits for the master
        RESTServer rest = new RESTServer(conf);
        rest.run();
        HttpServer admins = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[2])), 0);
        admins.createContext("/", exchange -> answer(exchange, cluster, admin));
        admins.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                rest.stop();
                cluster.shutdown();
                cluster.join();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        Files.writeString(Path.of(args[1]), Long.toString(ProcessHandle.current().pid()));
        new CountDownLatch(1).await();
    }

    /** After a crash ZooKeeper would believe for a session's length that the servers of before are alive. */
    static void forget(int port) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        try (ZooKeeper client = new ZooKeeper("127.0.0.1:" + port, 30_000, event -> connected.countDown())) {
            connected.await();
            for (String parent : new String[] {"/hbase/rs", "/hbase", "/hbase/backup-masters"}) {
                if (client.exists(parent, false) == null) {
                    continue;
                }
                for (String child : client.getChildren(parent, false)) {
                    String path = parent + "/" + child;
                    Stat stat = client.exists(path, false);
                    if (stat != null && stat.getEphemeralOwner() != 0) {
                        client.delete(path, -1);
                    }
                }
            }
        }
    }

    static void answer(HttpExchange exchange, LocalHBaseCluster cluster, Admin admin) throws java.io.IOException {
        int status = 200;
        String text = "done";
        try {
            String[] path = exchange.getRequestURI().getPath().split("/", 3);
            String[] lines = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8).lines().toArray(String[]::new);
            command(path[1], TableName.valueOf(path[2]), lines, cluster, admin);
        } catch (Throwable e) {
            status = 500;
            text = e.toString();
        }
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static void command(String name, TableName table, String[] lines, LocalHBaseCluster cluster, Admin admin) throws Exception {
        switch (name) {
            case "major-compact": // when it returns, each store is one file, and what a compaction takes away is gone
                for (JVMClusterUtil.RegionServerThread server : cluster.getRegionServers()) {
                    for (HRegion region : server.getRegionServer().getRegions(table)) {
                        region.flush(true);
                        region.compact(true);
                    }
                }
                break;
            case "create": // family, then the keys at which regions begin
                byte[][] splits = Arrays.stream(lines).skip(1).map(s -> s.getBytes(StandardCharsets.UTF_8)).toArray(byte[][]::new);
                admin.createTable(TableDescriptorBuilder.newBuilder(table).setColumnFamily(ColumnFamilyDescriptorBuilder.of(lines[0])).build(), splits.length == 0 ? null : splits);
                break;
            case "set": // attributes of the family in the first line, name=value
                ColumnFamilyDescriptorBuilder family = ColumnFamilyDescriptorBuilder.newBuilder(admin.getDescriptor(table).getColumnFamily(lines[0].getBytes(StandardCharsets.UTF_8)));
                for (int i = 1; i < lines.length; i++) {
                    family.setValue(lines[i].split("=", 2)[0], lines[i].split("=", 2)[1]);
                }
                admin.modifyColumnFamily(table, family.build());
                break;
            case "truncate": // keeps the regions, as the shell's truncate_preserve does
                admin.disableTable(table);
                admin.truncateTable(table, true);
                break;
            case "disable":
                admin.disableTable(table);
                break;
            case "enable":
                admin.enableTable(table);
                break;
            case "drop":
                admin.disableTable(table);
                admin.deleteTable(table);
                break;
            default:
                throw new IllegalArgumentException("unknown command " + name);
        }
    }
}
