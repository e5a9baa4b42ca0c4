"""This package is where the page is that browsers get at ``/graphql``, with everything it loads."""
