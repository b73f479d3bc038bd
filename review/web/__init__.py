"""The pages: what a person sees of cases, accounts, figures and alerts."""
