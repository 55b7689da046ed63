package main

import "github.com/spf13/cobra"

// demoCommand starts the program sluice-demo: it brings servers with it that this one need not link.
func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "a MySQL under fire, two shards, a search index, two kills, every row compared", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return become("sluice-demo", args) },
	}
}
