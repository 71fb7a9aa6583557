from dcube.cli.main import main

main()
