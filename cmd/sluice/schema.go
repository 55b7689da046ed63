package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/registry"
)

func schemaCommand() *cobra.Command {
	c := &cobra.Command{Use: "schema", Short: "the tables' schemas in the registry"}
	c.AddCommand(schemaAccept())
	return c
}

func schemaAccept() *cobra.Command {
	return connect(&cobra.Command{
		Use: "accept DB.TABLE | SUBJECT", Short: "register a form that the registry has refused as incompatible, and take the table up again", Args: cobra.ExactArgs(1),
		Long: `Register the table's present form although the registry has refused it as incompatible (409), and take the table up again
by a crawl over the top.

Readers that are bound to an older schema may not be able to read what comes: look at what the registry said first. The
subject's compatibility level is set to NONE for the moment of the registration and then put back.`,
	}, func(c *cobra.Command, x *connection, args []string) error {
		name, known := kafka.TableOf(x.cfg.Name, strings.TrimSuffix(args[0], "-value"))
		if !known {
			var err error
			if name, err = change.ParseTableName(args[0]); err != nil {
				return &change.Problem{Kind: change.Configuration, What: err.Error()}
			}
		}
		rule := x.cfg.Rule(name)
		if rule == nil {
			return &change.Problem{Kind: change.Configuration, What: name.String() + " is not captured by " + x.cfg.Name}
		}
		db, err := mysql.Open(x.cfg.MySQL, mysql.Options{Variables: mysql.ReadVariables(), MaxConnections: 1})
		if err != nil {
			return err
		}
		defer db.Close()
		facts, err := mysql.ReadFacts(c.Context(), db)
		if err != nil {
			return x.cfg.MySQL.Problem(err)
		}
		table, _, err := mysql.LoadTable(c.Context(), db, facts, name, rule.Key)
		if err != nil {
			return x.cfg.MySQL.Problem(err)
		}
		topic := kafka.TopicName(x.cfg.Name, name)
		encoder, err := x.cfg.Encoder(table, topic)
		if err != nil {
			return err
		}
		r, err := registry.New(registry.Options{URL: x.cfg.Kafka.Registry, User: x.cfg.Kafka.RegistryUser, Password: string(x.cfg.Kafka.RegistryPassword)})
		if err != nil {
			return err
		}
		id, err := r.Accept(c.Context(), topic+"-value", encoder.ValueSchema())
		if err != nil {
			return err
		}
		crawl, err := kafka.SendSignal(c.Context(), x.client, x.cfg.Name, kafka.Signal{Kind: kafka.CrawlStart, Table: name.String(), By: who()})
		if err != nil {
			return err
		}
		fmt.Printf("%s-value is schema %d now; crawl %s takes the table up again: sluice crawl list\n", topic, id, crawl)
		return nil
	})
}
