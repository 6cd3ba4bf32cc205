"""The pages: a storefront for buyers and a console for organisers, without framework or build."""
