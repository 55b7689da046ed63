import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/**
 * Starts an OpenSearch node from Maven's jars, which come without the
 * distribution's launcher: HOME [setting=value ...]
 */
public class OpenSearchLauncher extends Node {
    OpenSearchLauncher(Environment environment) {
        super(environment, List.of(Netty4Plugin.class), false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        Settings.Builder settings = Settings.builder().put("path.home", home.toString());
        for (int i = 1; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        settings.put("transport.type", "netty4").put("http.type", "netty4");
        Node node = new OpenSearchLauncher(new Environment(settings.build(), home.resolve("config")));
        node.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (java.io.IOException e) {
                e.printStackTrace();
            }
        }));
        new CountDownLatch(1).await();
    }
}
